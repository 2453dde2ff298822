import { DiskLog } from '../../../src/colo/core/epochs/disk-log.ts';
import { Gate } from '../../../src/colo/core/epochs/gate.ts';
import { PacketKeep } from '../../../src/colo/core/epochs/packet-keep.ts';
import type { Effect, SecondaryEvent } from '../../../src/colo/core/events.ts';
import type { Rules } from '../../../src/colo/core/rules.ts';
import { Secondary, type SecondaryOptions } from '../../../src/colo/core/secondary/secondary.ts';
import type { EpochItem, Message } from '../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, noCheckpoint } from '../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { type Answer, blockCount, type DiskRequest, FakeGuest, pageCount, type Request } from './fake-guest.ts';
import { fromBytes } from './numbers-as-bytes.ts';
import { Side } from './side.ts';
import type { Surroundings } from './surroundings.ts';
import { Violation } from './violation.ts';

interface LoggedWrite {
  readonly epoch: Epoch;
  readonly bytes: number;
  readonly block: number;
  readonly value: number;
}

/** The secondary's process: staging, disk log, kept packets and, after a takeover, the machine. */
export class SecondarySide extends Side<SecondaryEvent> {
  readonly secondary: Secondary;
  readonly #rules: Rules;
  readonly #diskLogBytes: number;
  #log: DiskLog<LoggedWrite>;
  #keep: PacketKeep<Answer | Request>;
  /** RAM as it would be the guest's. */
  ram: number[] = new Array(pageCount).fill(0);
  #stagedPages: number[] = [];
  #stagedState: number[] = [];
  /** Device state of the checkpoint that is loaded, or being loaded. */
  #state: number[] = [];
  #generation = 0;
  #laying = false;
  /** What the survivor's guest wrote itself. */
  readonly #own = new Map<number, number>();
  #flushes: { readonly request: DiskRequest; readonly expected: readonly number[] }[] = [];
  /** Every input that reached this side, for the check of what is replayed. */
  #inputs: { readonly epoch: Epoch; readonly request: Request }[] = [];
  #replayed = 0;
  live = false;
  /** When each checkpoint's VMSTATE_SEND arrived. */
  readonly #arrivals = new Map<Epoch, number>();

  constructor(world: Surroundings, options: SecondaryOptions, rules: Rules) {
    const secondary = new Secondary(options);
    super(world, 'secondary', secondary, new Gate<Answer>('shut', rules));
    this.secondary = secondary;
    this.#rules = rules;
    this.#diskLogBytes = options.settings.diskLogBytes;
    this.#log = new DiskLog(this.#diskLogBytes, rules);
    this.#keep = new PacketKeep(1e6, rules);
  }

  protected override execute(effect: Effect): void {
    const { world } = this;
    switch (effect.kind) {
      case 'attach':
        this.#log = new DiskLog(this.#diskLogBytes, this.#rules);
        // Until the first checkpoint the disk is being copied: nothing has to be kept aside.
        this.#log.commit(epoch(0));
        this.#keep = new PacketKeep(1e6, this.#rules);
        this.#forgetStaging();
        this.#inputs = [];
        return;
      case 'stage':
        this.#stage(effect.item);
        return;
      case 'discard':
        this.#forgetStaging();
        this.#log.discard(effect.beyond);
        if (effect.beyond === noCheckpoint) {
          this.#generation++;
          this.#keep.clear();
        }
        return;
      case 'load':
        this.#load(effect.epoch);
        return;
      case 'commit-disk': {
        const { epoch } = effect;
        this.#log.commit(epoch);
        this.#keep.committed(epoch);
        this.#layDown();
        const generation = this.#generation;
        world.agenda.after(world.random.between(0.05, 0.5), () => {
          if (generation === this.#generation) this.post({ kind: 'disk-committed', epoch });
        });
        return;
      }
      case 'revive':
        this.#revive(effect.epoch, effect.stoppedAt);
        return;
      case 'send-kept':
        this.first(
          ...this.#keep
            .outputsToSend(effect.epoch)
            .map((answer) => ({ kind: 'write', answer: answer as Answer }) as const),
        );
        return;
      case 'replay-input':
        for (const request of this.#keep.inputsToReplay(effect.epoch)) {
          this.#replayed++;
          this.give(request as Request);
        }
        return;
      case 'resume-guest':
        world.resumed(this.#inputs.filter((input) => input.epoch > this.secondary.received).length, this.#replayed);
        this.guestRuns = true;
        this.live = true;
        this.pumpDisk();
        if (this.guest.ended) this.post({ kind: 'guest-ended', exitCode: 0 });
        return;
      default:
        throw new Error(`a secondary has no effect ${effect.kind}`);
    }
  }

  /** What is said about a checkpoint must be so (spec C.4, A.7). */
  override send(message: Message, term = this.secondary.term): void {
    if (message.kind === 'vmstate-loaded' || message.kind === 'checkpoint-ready') {
      const view = Array.from({ length: blockCount }, (_, block) => this.#view(block, message.epoch));
      this.world.checkEqual(message.epoch, this.ram, this.#state, view);
      if (this.diskFailureKnown) {
        throw new Violation('A.7', `the secondary says ${message.kind} ${message.epoch} though its disk failed`);
      }
    }
    super.send(message, term);
  }

  protected override afterFrame(message: Message): void {
    if (message.kind === 'vmstate-send') this.#arrivals.set(message.epoch, this.world.agenda.now);
  }

  #forgetStaging(): void {
    this.#stagedPages = [];
    this.#stagedState = [];
  }

  #stage(item: EpochItem): void {
    this.moved();
    switch (item.kind) {
      case 'pages':
        this.#stagedPages.push(...fromBytes(item.data));
        return;
      case 'vmstate':
        this.#stagedState.push(...fromBytes(item.data));
        return;
      case 'disk-write': {
        const [block, value] = fromBytes(item.data) as unknown as readonly [number, number];
        try {
          const half = this.#log.append({ epoch: item.epoch, bytes: item.data.length, block, value });
          if (half) this.post({ kind: 'disk-log-half' });
          this.#layDown();
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
          this.world.overran();
          this.post({ kind: 'peer-broke', error });
        }
        return;
      }
      case 'output': {
        const [client, number, index, hash, clock] = fromBytes(item.data) as unknown as readonly [
          number,
          number,
          number,
          number,
          number,
        ];
        this.#keep.keep('output', item.epoch, { client, number, index, hash, clock }, item.data.length);
        return;
      }
      case 'input': {
        const [client, number] = fromBytes(item.data) as unknown as readonly [number, number];
        const request = { client, number };
        this.#keep.keep('input', item.epoch, request, item.data.length);
        this.#inputs.push({ epoch: item.epoch, request });
        return;
      }
      case 'output-left':
        this.#keep.left(item.epoch);
        return;
      case 'pages-end':
      case 'disk-discard':
      case 'disk-zeroes':
      case 'disk-end':
      case 'packets-end':
        return;
      default:
        item satisfies never;
    }
  }

  /** In two halves, so that whoever looks between them sees neither checkpoint. */
  #load(epoch: Epoch): void {
    const pages = this.#stagedPages;
    const state = this.#stagedState;
    this.#forgetStaging();
    const half = Math.ceil(pages.length / 4) * 2;
    this.#apply(pages, 0, half);
    const generation = this.#generation;
    this.world.agenda.after(this.world.random.between(0.5, 5), () =>
      this.process(() => {
        if (generation !== this.#generation) return;
        if (this.loadFails) {
          this.post({ kind: 'load-failed', epoch, reason: 'a device refuses its state' });
          return;
        }
        this.#apply(pages, half, pages.length);
        this.#state = state;
        this.post({ kind: 'loaded', epoch });
      }),
    );
  }

  #apply(pages: readonly number[], from: number, to: number): void {
    for (let at = from; at < to; at += 2) this.ram[pages[at] as number] = pages[at + 1] as number;
  }

  #revive(epoch: Epoch, stoppedAt: number): void {
    const all = Number.POSITIVE_INFINITY;
    const view = Array.from({ length: blockCount }, (_, block) => this.#view(block, all));
    this.world.checkTakeover(this, epoch, this.ram, this.#state, view);
    this.guest = new FakeGuest();
    const clock = this.guest.load(this.#state);
    this.guest.pages = [...this.ram];
    this.guestClockOffset = clock + this.#rules.clockMove(stoppedAt, this.now) - this.now;
    this.guest.setClock = () => this.now + this.guestClockOffset;
    this.world.checkClock(this.#arrivals.get(epoch) ?? 0, epoch, this.now + this.guestClockOffset);
  }

  // The disk

  /** What a reader of S's disk would find with the log's writes up to this epoch. */
  #view(block: number, standsAt: number): number {
    const own = this.#own.get(block);
    if (own !== undefined) return own;
    const { records } = this.#log;
    for (let at = records.length - 1; at >= 0; at--) {
      const record = records[at] as LoggedWrite;
      if (record.block === block && record.epoch <= standsAt) return record.value;
    }
    return this.disk.cached[block] as number;
  }

  #layDown(): void {
    const record = this.#log.nextToLay();
    if (this.#laying || record === undefined) return;
    this.#laying = true;
    const log = this.#log;
    this.disk.write(record.block, record.value, (error) =>
      this.process(() => {
        this.#laying = false;
        if (error !== undefined) {
          this.diskFailed(error);
          return;
        }
        if (log !== this.#log) {
          this.#layDown();
          return;
        }
        log.laid();
        if (this.secondary.phase === 'seeding') this.moved();
        this.post({ kind: 'disk-laid', bytes: log.laidBytes });
        this.#layDown();
        this.#tryFlushes();
      }),
    );
  }

  protected override takeRequest(request: Request): void {
    if (this.live && this.guestRuns && !this.guest.ended) this.give(request);
  }

  protected override answered(answer: Answer): void {
    this.output(answer);
  }

  /** The survivor's guest writes into its own layer; a flush waits for everything to be durable. */
  protected override pumpDisk(): void {
    if (!this.live) return;
    for (const request of this.guest.queue) {
      if (request.taken) continue;
      this.guest.taken(request);
      this.#own.set(request.block, request.value);
      if (request.flush) this.#flushes.push({ request, expected: [...this.guest.blocks] });
      else this.world.agenda.after(this.disk.latencyMs, () => this.process(() => this.completed(request)));
    }
    this.#tryFlushes();
  }

  #tryFlushes(): void {
    if (this.#flushes.length === 0 || !this.#log.mayAnswerFlush) return;
    const flushes = this.#flushes;
    this.#flushes = [];
    let failed: string | undefined;
    for (const [block, value] of this.#own) {
      this.disk.write(block, value, (error) => {
        failed ??= error;
      });
    }
    this.disk.flush((error) =>
      this.process(() => {
        failed ??= error;
        if (failed !== undefined) {
          this.diskFailed(failed);
          return;
        }
        for (const { request, expected } of flushes) {
          this.world.checkDurable(this.disk.durable, expected, this.guest.blocks);
          this.completed(request);
        }
      }),
    );
  }
}
