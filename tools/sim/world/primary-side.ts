import { Gate } from '../../../src/colo/core/epochs/gate.ts';
import type { Effect, PrimaryEvent } from '../../../src/colo/core/events.ts';
import { Primary, type PrimaryOptions } from '../../../src/colo/core/primary/primary.ts';
import type { Rules } from '../../../src/colo/core/rules.ts';
import type { Message } from '../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, next } from '../../../src/colo/protocol/numbers.ts';
import { type Answer, blockCount, type DiskRequest, type Request } from './fake-guest.ts';
import { toBytes } from './numbers-as-bytes.ts';
import { Side } from './side.ts';
import type { Surroundings } from './surroundings.ts';

/** A write's data: block and value. */
export const writeBytes = 16;

/** The primary's process: machine, disk, mirror and gate around the core. */
export class PrimarySide extends Side<PrimaryEvent> {
  readonly primary: Primary;
  /** Writes are forwarded, packets mirrored. */
  attached = false;
  /** The epoch that the io thread is in. */
  epoch: Epoch = epoch(0);
  #diskItems = 0;
  #packetItems = 0;
  #pagesItems = 0;
  #outputWaits = false;
  /** The first copy that is under way. */
  #copy = 0;
  #captured: { readonly pages: number[]; readonly state: number[] } = { pages: [], state: [] };

  constructor(world: Surroundings, options: PrimaryOptions, rules: Rules) {
    const primary = new Primary(options);
    super(world, 'primary', primary, new Gate<Answer>('direct', rules));
    this.primary = primary;
    this.guestRuns = true;
  }

  override send(message: Message, term = this.primary.term): void {
    if (message.kind === 'handover-done') this.world.gaveUp();
    super.send(message, term);
  }

  protected override execute(effect: Effect): void {
    const { world } = this;
    switch (effect.kind) {
      case 'attach':
        this.attached = true;
        this.epoch = epoch(0);
        this.#diskItems = 0;
        this.#packetItems = 0;
        this.#pagesItems = 0;
        this.forgetLeft();
        for (const answer of this.gate.waiting()) this.#mirror(answer);
        for (let page = 0; page < this.guest.pages.length; page++) this.guest.dirty.add(page);
        return;
      case 'detach':
        this.attached = false;
        this.pumpDisk();
        return;
      case 'synchronise-disks':
        world.agenda.after(world.random.between(1, 6), () => this.process(() => this.#synchronise(++this.#copy, 0)));
        return;
      case 'live-pass':
        this.#pass(effect.epoch);
        return;
      case 'capture':
        this.#capture(effect.epoch);
        return;
      case 'transmit':
        this.#transmit(effect.epoch);
        return;
      default:
        throw new Error(`a primary has no effect ${effect.kind}`);
    }
  }

  protected override takeRequest(request: Request): void {
    if (!this.guestRuns || this.guest.ended) return;
    if (this.attached) {
      this.#packetItems++;
      this.send({ kind: 'input', epoch: this.epoch, card: 0, data: toBytes([request.client, request.number]) });
    }
    this.give(request);
  }

  protected override answered(answer: Answer): void {
    if (this.attached) this.#mirror(answer);
    if (this.attached && this.gate.mode === 'holding' && !this.#outputWaits) {
      this.#outputWaits = true;
      this.output(answer, this.epoch);
      this.post({ kind: 'output-waits' });
    } else this.output(answer, this.epoch);
  }

  #mirror({ client, number, index, hash, clock }: Answer): void {
    this.#packetItems++;
    this.send({ kind: 'output', epoch: this.epoch, card: 0, data: toBytes([client, number, index, hash, clock]) });
  }

  /** The first copy: a block is sent as it is now, among the writes, as far as S's log has room. */
  #synchronise(copy: number, from: number, isWaiting = false): void {
    for (let block = from; block < blockCount; block++) {
      if (copy !== this.#copy || !this.attached || this.session === undefined) return;
      if (this.primary.diskWindow.mustWait) {
        if (!isWaiting) this.post({ kind: 'copy-waits', owed: 'room in the disk log' });
        this.world.agenda.after(1, () => this.process(() => this.#synchronise(copy, block, true)));
        return;
      }
      if (isWaiting) this.#copyMoves();
      isWaiting = false;
      this.#forward(block, this.guest.blocks[block] as number);
    }
    this.post({ kind: 'disks-in-step' });
  }

  #copyMoves(): void {
    this.post({ kind: 'copy-waits', owed: undefined });
    this.moved();
  }

  #forward(block: number, value: number): void {
    this.#diskItems++;
    const data = toBytes([block, value]);
    this.send({ kind: 'disk-write', epoch: this.epoch, disk: 0, offset: block * writeBytes, data });
    if (this.primary.diskWindow.forward(writeBytes)) this.post({ kind: 'disk-log-half' });
  }

  protected override pumpDisk(): void {
    for (const request of this.guest.queue) {
      if (request.taken) continue;
      if (this.attached && this.primary.diskWindow.mustWait) {
        this.world.count('the guest waits for room in the disk log');
        return;
      }
      this.guest.taken(request);
      if (this.attached) this.#forward(request.block, request.value);
      this.disk.write(request.block, request.value, (error) => this.#written(request, error));
    }
  }

  #written(request: DiskRequest, error: string | undefined): void {
    if (error !== undefined) {
      this.diskFailed(error);
      return;
    }
    if (!request.flush) this.process(() => this.completed(request));
    else {
      this.disk.flush((failed) => {
        if (failed !== undefined) this.diskFailed(failed);
        else this.process(() => this.completed(request));
      });
    }
  }

  protected override afterFrame(): void {
    if (this.guest.queue.length > 0) this.pumpDisk();
  }

  protected override reportLeft(left: number): void {
    this.post({ kind: 'output-left', epoch: epoch(left) });
  }

  reset(): void {
    this.process(() => {
      if (this.guest.ended || !this.guestRuns) return;
      this.guest.reset();
      this.world.wasReset();
      this.post({ kind: 'guest-reset' });
    });
  }

  powerOff(): void {
    this.process(() => {
      if (this.guest.ended || !this.guestRuns) return;
      this.guest.ended = true;
      this.post({ kind: 'guest-ended', exitCode: 0 });
    });
  }

  #pass(epoch: Epoch): void {
    this.#sendPages(epoch, this.#dirtyPages());
    if (!this.world.network.reads('secondary')) {
      this.post({ kind: 'copy-waits', owed: 'room on the pages stream' });
      return;
    }
    this.world.agenda.after(this.world.random.between(0.5, 4), () =>
      this.post({ kind: 'passed', epoch, worthAnother: this.guest.dirty.size > 1 }),
    );
  }

  #dirtyPages(): number[] {
    const pages: number[] = [];
    for (const page of this.guest.dirty) pages.push(page, this.guest.pages[page] as number);
    this.guest.dirty.clear();
    return pages;
  }

  #sendPages(epoch: Epoch, pages: readonly number[]): void {
    this.#pagesItems++;
    this.send({ kind: 'pages', epoch, data: toBytes(pages) });
  }

  /** One synchronous call: everything of this epoch is before it, everything after it is of the next one. */
  #capture(epoch: Epoch): void {
    const state = this.guest.save(this.now + this.guestClockOffset);
    this.#captured = { pages: this.#dirtyPages(), state };
    this.world.captured(epoch, this.guest, state);
    this.send({ kind: 'disk-end', epoch, items: this.#diskItems });
    this.send({ kind: 'packets-end', epoch, items: this.#packetItems });
    this.#diskItems = 0;
    this.#packetItems = 0;
    this.#outputWaits = false;
    this.epoch = next(epoch);
    const stoppedMs = this.world.random.between(0.1, 1.5);
    this.world.agenda.after(stoppedMs, () =>
      this.post({ kind: 'captured', epoch, stateBytes: state.length * 8, stoppedMs }),
    );
  }

  #transmit(epoch: Epoch): void {
    const { pages, state } = this.#captured;
    const half = Math.ceil(state.length / 2);
    this.#pagesItems++;
    const items = this.#pagesItems;
    this.#pagesItems = 0;
    const { term } = this.primary;
    const send = (message: Message) => ({ kind: 'send', message, term }) as const;
    this.first(
      send({ kind: 'pages', epoch, data: toBytes(pages) }),
      send({ kind: 'pages-end', epoch, items }),
      send({ kind: 'vmstate', epoch, data: toBytes(state.slice(0, half)) }),
      send({ kind: 'vmstate', epoch, data: toBytes(state.slice(half)) }),
    );
  }
}
