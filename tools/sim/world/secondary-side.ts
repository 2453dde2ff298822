import { DiskLog } from '../../../src/colo/core/epochs/disk-log.ts';
import { Gate } from '../../../src/colo/core/epochs/gate.ts';
import { PacketKeep } from '../../../src/colo/core/epochs/packet-keep.ts';
import type { Effect, Notice, SecondaryEvent } from '../../../src/colo/core/events.ts';
import { Recovery } from '../../../src/colo/core/fencing/recovery.ts';
import type { Rules } from '../../../src/colo/core/rules.ts';
import { Secondary, type SecondaryOptions } from '../../../src/colo/core/secondary/secondary.ts';
import type { Frame } from '../../../src/colo/protocol/frame.ts';
import type { EpochItem, Message, Packet } from '../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, next, noCheckpoint } from '../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { diskBlocks } from './disk-history.ts';
import {
  type Answer,
  type DiskRequest,
  fromNumbers,
  opensConnection,
  pageCount,
  type Request,
  toNumbers,
} from './fake-guest.ts';
import { fromBytes, toBytes } from './numbers-as-bytes.ts';
import { type Legacy, type ProcessLegacy, Side } from './side.ts';
import type { Surroundings } from './surroundings.ts';
import { Translation } from './translation.ts';
import { Violation } from './violation.ts';

interface LoggedWrite {
  readonly epoch: Epoch;
  readonly bytes: number;
  readonly block: number;
  readonly value: number;
}

/** What a standby's process goes on with when it stands by again. */
export interface StandingBy extends ProcessLegacy {
  readonly recovery: Recovery;
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
  /** Those that have entered the guest, which ran. */
  #letIn = 0;
  readonly #translation: Translation;
  /** Of the open epoch, how many of what the guest said are forgotten. */
  #forgotten = 0;
  /** Of disks, for a guest that is stopped. */
  #deferred: DiskRequest[] = [];
  /** The pages that the checkpoint brought. */
  #brought: readonly number[] = [];
  live = false;
  /** When each checkpoint's VMSTATE_SEND arrived. */
  readonly #arrivals = new Map<Epoch, number>();

  /** @param before what it was in this process before it was given up */
  constructor(world: Surroundings, options: SecondaryOptions, rules: Rules, before?: StandingBy) {
    const secondary = new Secondary(options);
    super(world, 'secondary', secondary, new Gate<Answer>('holding', rules), before);
    this.#recovery = before?.recovery ?? new Recovery(options.settings, world.recoveryTimes);
    this.#turnMs = options.settings.heartbeatMs;
    this.secondary = secondary;
    this.#rules = rules;
    this.#translation = new Translation(rules);
    this.#diskLogBytes = options.settings.diskLogBytes;
    this.#log = new DiskLog(this.#diskLogBytes, rules);
    this.#keep = new PacketKeep(1e6, rules);
  }

  override get isSettled(): boolean {
    return super.isSettled && this.live && this.#log.isLaid && !this.#laying;
  }

  /** It was given up, and its host is well again: its process may stand by again. */
  mayStandByAgain = false;
  readonly #recovery: Recovery;
  readonly #turnMs: number;

  protected override noticed(notice: Notice): void {
    if (notice.kind === 'protected') this.#recovery.protects(this.now);
    if (notice.kind !== 'fenced') return;
    this.#recovery.givenUp(this.now);
    this.#waitForCalm();
  }

  #waitForCalm(): void {
    this.world.agenda.after(this.#turnMs, () =>
      this.process(() => {
        this.#recovery.turned(this.now);
        if (this.#recovery.left(this.now) > 0) this.#waitForCalm();
        else this.mayStandByAgain = true;
      }),
    );
  }

  /** Nothing happens here any more: the process stands by anew. */
  standDown(): StandingBy {
    this.dead = true;
    const { holder, clock, disk, history } = this;
    return { holder, clock, disk, history, recovery: this.#recovery };
  }

  /** Of `disk-sync`: what came before it is to be laid down, and made durable. */
  #sync: { readonly epoch: Epoch; readonly after: number } | undefined;
  #staged = 0;
  #laid = 0;

  /** What the two sides say about disks concerns no core. */
  override frame(session: number, frame: Frame): void {
    const { message, term } = frame;
    if (message.kind !== 'disk-sync') {
      super.frame(session, frame);
      return;
    }
    this.process(() => {
      if (session !== this.session || term !== this.secondary.term || this.live) return;
      this.#sync = { epoch: message.epoch, after: this.#staged };
      this.post({ kind: 'copy-moved' });
      this.#trySync();
    });
  }

  #trySync(): void {
    const sync = this.#sync;
    if (sync === undefined || this.#laid < sync.after) return;
    this.#sync = undefined;
    const { session } = this;
    this.disk.flush((error) =>
      this.process(() => {
        if (error !== undefined || session === undefined || session !== this.session || this.live) return;
        this.send({ kind: 'disk-durable', epoch: sync.epoch });
      }),
    );
  }

  #makesDurable = false;
  /** The checkpoint that the disk is at, or will be once all is laid down. */
  #committed: number = noCheckpoint;

  /** Makes durable what it has laid down. @param done told whether all up to that checkpoint was */
  makeDurable(epoch: Epoch, done: (isDurable: boolean) => void): void {
    const isLaid = this.#log.isLaid && !this.#laying && this.#committed >= epoch;
    // One flush at a time: a slow disk has other things to do.
    if (!isLaid || this.#makesDurable) {
      done(false);
      return;
    }
    this.#makesDurable = true;
    this.disk.flush((error) => {
      this.#makesDurable = false;
      if (!this.dead) done(isLaid && error === undefined);
    });
  }

  /** What its guest wrote is on the disk, not all of it durable. */
  override retire(): Legacy {
    for (const block of this.#own.keys()) this.history.marks.add(block);
    for (const [block, value] of this.#own) this.disk.write(block, value, () => {});
    return { ...super.retire(), written: [...this.#own.keys()] };
  }

  protected override execute(effect: Effect): void {
    const { world } = this;
    switch (effect.kind) {
      case 'attach':
        this.#log = new DiskLog(this.#diskLogBytes, this.#rules);
        this.#committed = noCheckpoint;
        this.#sync = undefined;
        this.#staged = 0;
        this.#laid = 0;
        // Until the first checkpoint the disk is being copied: nothing has to be kept aside.
        this.#log.commit(epoch(0));
        this.#keep = new PacketKeep(1e6, this.#rules);
        this.#forgetStaging();
        this.#inputs = [];
        this.#letIn = 0;
        this.gate.clear();
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
          this.guestRuns = false;
          this.#own.clear();
          this.gate.clear();
        }
        return;
      case 'start':
        this.#start(effect.epoch, effect.stoppedAt);
        return;
      case 'let-in':
        this.#enter(requestOf(effect.item), effect.item.epoch);
        return;
      case 'let-in-kept':
        for (const request of this.#keep.takeInputs(effect.epoch)) this.#enter(request as Request, undefined);
        return;
      case 'forget-own':
        this.gate.forget(effect.items - this.#forgotten);
        this.#forgotten = Math.max(this.#forgotten, effect.items);
        return;
      case 'hold-guest': {
        const view = Array.from({ length: diskBlocks }, (_, block) => this.#view(block, Number.POSITIVE_INFINITY));
        world.checkRunning(this, this.guest, view);
        if (!this.#rules.sendsOwn) this.gate.clear();
        const { received } = this.secondary;
        if (received === 0) world.count('takeovers in the first epoch that was compared');
        world.checkClock(this.#arrivals.get(received) ?? 0, received, this.now + this.guestClockOffset);
        return;
      }
      case 'load':
        this.#load(effect.epoch);
        return;
      case 'commit-disk': {
        const { epoch } = effect;
        this.#log.commit(epoch);
        this.#committed = epoch;
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
          this.guestRuns = true; // it takes them from its queue when it runs, which is now
          this.live = true;
          this.#enter(request as Request, undefined, true);
        }
        return;
      case 'resume-guest': {
        this.guestRuns = true;
        this.live = true;
        const completed = this.#deferred;
        this.#deferred = [];
        for (const request of completed) this.completed(request);
        const expected = this.#inputs.filter((input) => input.epoch > this.secondary.received).length - this.#letIn;
        world.resumed(expected, this.#replayed, this.guest, this.gate.waiting());
        this.pumpDisk();
        if (this.guest.ended) this.post({ kind: 'guest-ended', exitCode: 0 });
        return;
      }
      default:
        throw new Error(`a secondary has no effect ${effect.kind}`);
    }
  }

  /** What is said about a checkpoint must be so (spec C.4, A.7). */
  override send(message: Message, term = this.secondary.term): void {
    if (message.kind === 'vmstate-loaded' || message.kind === 'checkpoint-ready') {
      const view = Array.from({ length: diskBlocks }, (_, block) => this.#view(block, message.epoch, false));
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
          this.#staged++;
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
        this.#keep.keep('output', item.epoch, fromNumbers(fromBytes(item.data)), item.data.length);
        return;
      }
      case 'input': {
        const request = requestOf(item);
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
      case 'output-confirmed':
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
    this.#own.clear();
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
        this.#brought = pages;
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
    const view = Array.from({ length: diskBlocks }, (_, block) => this.#view(block, all));
    this.world.checkTakeover(this, epoch, this.ram, this.#state, view);
    const clock = this.#loadGuest(epoch);
    this.guestClockOffset = clock + this.#rules.clockMove(stoppedAt, this.now) - this.now;
    this.world.checkClock(this.#arrivals.get(epoch) ?? 0, epoch, this.now + this.guestClockOffset);
  }

  /** A guest as it was at that checkpoint; its clock. */
  #loadGuest(epoch: Epoch): number {
    this.guest = this.newGuest();
    const clock = this.guest.load(this.#state);
    this.guest.pages = [...this.ram];
    this.guest.said = this.world.saidAt(epoch);
    this.guest.dirty.clear();
    this.#own.clear();
    this.#flushes = [];
    this.#deferred = [];
    this.gate.clear();
    this.#forgotten = 0;
    this.#letIn = 0;
    this.#translation.checkpoint();
    return clock;
  }

  /** Comparing: the guest runs from this checkpoint. */
  #start(epoch: Epoch, stoppedAt: number): void {
    const before = this.guest;
    const clock = this.#loadGuest(epoch);
    if (!this.#rules.rollsBack) {
      const brought = new Set(this.#brought.filter((_, at) => at % 2 === 0));
      for (const page of before.dirty) if (!brought.has(page)) this.guest.pages[page] = before.pages[page] as number;
    }
    const view = Array.from({ length: diskBlocks }, (_, block) => this.#view(block, epoch));
    this.world.checkEqual(epoch, this.guest.pages, this.#state, view);
    this.guestClockOffset = clock + this.#rules.clockMove(stoppedAt, this.now) - this.now;
    this.world.checkClock(this.#arrivals.get(epoch) ?? 0, epoch, this.now + this.guestClockOffset);
    this.guestRuns = true;
    this.world.count("starts of the secondary's guest");
    this.pumpDisk();
    const generation = this.#generation;
    this.world.agenda.after(this.world.random.between(0.2, 2), () => {
      if (generation === this.#generation) this.post({ kind: 'started', epoch });
    });
  }

  /** A question enters the guest. @param counted its epoch, if this is when it came */
  #enter(request: Request, counted: Epoch | undefined, isLate = false): void {
    if (counted !== undefined) this.#inputs.push({ epoch: counted, request });
    if (!isLate) this.#letIn++;
    const isNew = opensConnection(request.number) && this.guest.last[request.client]?.number !== request.number;
    this.#translation.learn(request, isNew ? undefined : this.guest.bases[request.client]);
    const random = this.world.randomOf('secondary');
    if (!this.live && random.chance(this.world.divergence)) {
      this.world.count('divergences');
      if (random.chance(0.05)) {
        this.guest.ended = true;
        this.post({ kind: 'guest-ended', exitCode: 2 });
        return;
      }
      this.guest.diverge();
    }
    this.give(request);
  }

  protected override completed(request: DiskRequest): void {
    if (this.guestRuns) super.completed(request);
    else this.#deferred.push(request);
  }

  // The disk

  /** What a reader of S's disk would find with the log's writes up to this epoch. */
  #view(block: number, standsAt: number, withOwn = true): number {
    const own = withOwn ? this.#own.get(block) : undefined;
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
        this.#laid++;
        this.#trySync();
        if (this.secondary.phase === 'seeding') this.moved();
        this.post({ kind: 'disk-laid', bytes: log.laidBytes });
        this.#layDown();
        this.#tryFlushes();
      }),
    );
  }

  protected override takeRequest(request: Request): void {
    if (this.live && this.guestRuns && !this.guest.ended) this.#enter(request, undefined, true);
  }

  protected override answered(answer: Answer): void {
    const said = this.#translation.translate(answer);
    if (this.live) {
      this.output(said);
      return;
    }
    const epoch = next(this.secondary.received);
    this.output(said, epoch);
    this.send({ kind: 'secondary-output', epoch, card: 0, data: toBytes(toNumbers(said)) });
  }

  /** The survivor's guest writes into its own layer; a flush waits for everything to be durable. */
  protected override pumpDisk(): void {
    if (!this.live && !this.guestRuns) return;
    for (const request of this.guest.queue) {
      if (request.taken) continue;
      this.guest.taken(request);
      this.#own.set(request.block, request.value);
      if (this.live && this.world.resyncRules.marksWrites) this.history.marks.add(request.block);
      if (request.flush && this.live) this.#flushes.push({ request, expected: [...this.guest.blocks] });
      else this.world.agenda.after(this.disk.latencyMs, () => this.process(() => this.#written(request)));
    }
    this.#tryFlushes();
  }

  /** What a guest flushed that was compared rests on P's disk, until it is taken over. */
  #written(request: DiskRequest): void {
    if (!request.flush || !this.live) {
      this.completed(request);
      return;
    }
    if (!this.guest.queue.includes(request)) return;
    this.#flushes.push({ request, expected: [...this.guest.blocks] });
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

function requestOf({ data }: Packet): Request {
  const [client, number, base, echo] = fromBytes(data) as unknown as readonly [number, number, number, number];
  return { client, number, base, echo };
}
