import { Confirmations } from '../../../src/colo/core/epochs/confirmations.ts';
import { Gate } from '../../../src/colo/core/epochs/gate.ts';
import type { Effect, PrimaryEvent } from '../../../src/colo/core/events.ts';
import { Primary, type PrimaryOptions } from '../../../src/colo/core/primary/primary.ts';
import type { Rules } from '../../../src/colo/core/rules.ts';
import type { Frame } from '../../../src/colo/protocol/frame.ts';
import type { Message } from '../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, type Mode, next } from '../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { diskBlocks } from './disk-history.ts';
import { FakeComparison } from './fake-comparison.ts';
import { type Answer, blockCount, type DiskRequest, fromNumbers, type Request, toNumbers } from './fake-guest.ts';
import { fromBytes, toBytes } from './numbers-as-bytes.ts';
import { Resync } from './resync.ts';
import { type Legacy, Side } from './side.ts';
import type { Surroundings } from './surroundings.ts';

/** What has no counterpart for so long wants a checkpoint, and is looked for so often, ms. */
const compareTimeoutMs = 60;
const scanMs = 15;
/** To the rule of modes, which wants to hear of many before it believes in an average. */
const packetsOfAnswer = 4;

/** It is looked so often what may be forgotten, ms. */
const forgetMs = 25;

const roomForBlock = 'room in the disk log';

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
  /** How output of that epoch leaves. */
  mode: Mode = 'buffered';
  readonly #rules: Rules;
  readonly #comparison: FakeComparison;
  readonly #confirmations = new Confirmations();
  /** When what waits at the gate was said, and in which mode; and how long what left since that was told had waited. */
  readonly #said = new Map<number, { readonly at: number; readonly mode: Mode }>();
  readonly #waited = { comparing: { packets: 0, ms: 0 }, buffered: { packets: 0, ms: 0 } };
  /** Of what was found equal and waits: the number of P's, and that of S's. */
  readonly #likes = new Map<number, number>();
  readonly #lost = new Set<number>();
  /** When the oldest output came that waits in an epoch that is compared. */
  waitsSince: number | undefined;
  /** Of this pairing, and whether the standby's disk has it. */
  readonly #resync: Resync;
  #generation = '';
  #isRenewed = false;
  /** A flush for that is under way. */
  #forgets = false;
  /** The standby's disk is equal; and it was when the standby was asked to make it durable. */
  #inStep = false;
  /** The copy waits for room, and the guest had the last. */
  #isCopysTurn = false;
  #copyOwed = false;
  /** Bytes, when the standby told last. */
  #outstanding = 0;
  #asksAll = false;
  /** The epoch in which each block was written last. */
  readonly #writtenIn = new Map<number, number>();
  /** The first copy that is under way. */
  #copy = 0;
  #captured: { readonly pages: number[]; readonly state: number[] } = { pages: [], state: [] };

  /** @param legacy of a survivor, which may have been a primary already: then with its core */
  constructor(
    world: Surroundings,
    options: PrimaryOptions,
    rules: Rules,
    legacy?: Legacy & { readonly core?: Primary | undefined },
  ) {
    const primary = legacy?.core ?? new Primary(options);
    super(world, 'primary', primary, legacy?.gate ?? new Gate<Answer>('direct', rules), legacy);
    this.primary = primary;
    this.guestRuns = true;
    this.#rules = rules;
    this.#resync = legacy?.resync ?? new Resync(world.resyncRules, this.history.generation);
    for (const block of legacy?.written ?? []) this.#resync.note(block);
    const bound = world.compares && world.random.chance(0.3) ? 1 : 8;
    this.#comparison = new FakeComparison(
      rules,
      {
        release: (number, like) => this.#released(number, like),
        drop: (number) => this.#confirmations.done(number),
        lose: (number) => {
          this.#lost.add(number);
          this.gate.match(number);
        },
        wants: (why) => this.post({ kind: 'comparison-wants', epoch: this.epoch, why, waitedMs: 0 }),
      },
      bound,
      compareTimeoutMs,
    );
    if (world.compares) this.#scan();
    this.#look();
    if (legacy === undefined) return;
    this.pumpDisk();
    this.drain();
  }

  override retire(): Legacy {
    return { ...super.retire(), resync: this.#resync };
  }

  override get isSettled(): boolean {
    const isAlone = this.primary.phase === 'unprotected' && !this.attached && this.gate.mode === 'direct';
    return super.isSettled && isAlone && this.gate.held === 0;
  }

  override send(message: Message, term = this.primary.term): void {
    if (message.kind === 'handover-done') this.world.gaveUp();
    super.send(message, term);
  }

  /** What S's guest said does not pass through the core, which says whether it counts. */
  override frame(session: number, frame: Frame): void {
    const { message, term } = frame;
    if (message.kind === 'disk-durable') {
      this.process(() => {
        if (session === this.session && term === this.primary.term && this.attached) this.#durable(message.epoch);
      });
      return;
    }
    if (message.kind !== 'secondary-output') {
      super.frame(session, frame);
      return;
    }
    this.process(() => {
      if (session !== this.session || term !== this.primary.term) return;
      try {
        if (!this.primary.compares(message.epoch) || this.mode !== 'comparing') return;
        if (!this.#rules.comparable(this.epoch, message.epoch)) return;
        this.#comparison.secondary(this.#confirmations.came(), fromNumbers(fromBytes(message.data)), this.now);
        this.#confirm();
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        this.post({ kind: 'peer-broke', error });
      }
    });
  }

  #released(number: number, like: number | undefined): void {
    this.world.count('released by comparison');
    this.gate.match(number);
    if (like !== undefined) {
      if (this.#rules.confirms(true, false)) this.#confirmations.done(like);
      else this.#likes.set(number, like);
    }
    this.drain();
  }

  protected override hasLeft(number: number): void {
    const said = this.#said.get(number);
    if (said !== undefined && this.gate.mode === 'holding') {
      this.#waited[said.mode].packets += packetsOfAnswer;
      this.#waited[said.mode].ms += packetsOfAnswer * (this.now - said.at);
    }
    this.#said.delete(number);
    const like = this.#likes.get(number);
    if (like === undefined) return;
    this.#likes.delete(number);
    this.#confirmations.done(like);
    this.#confirm();
  }

  protected override isLost(number: number): boolean {
    return this.#lost.has(number);
  }

  #confirm(): void {
    const items = this.#confirmations.news();
    if (items !== undefined && this.mode === 'comparing')
      this.send({ kind: 'output-confirmed', epoch: this.epoch, items });
  }

  #scan(): void {
    this.world.agenda.after(scanMs, () => {
      this.process(() => {
        if (this.mode === 'comparing') this.#comparison.scan(this.now);
      });
      this.#tellWaits();
      this.#scan();
    });
  }

  #tellWaits(): void {
    for (const mode of ['comparing', 'buffered'] as const) {
      const { packets, ms } = this.#waited[mode];
      if (packets > 0) this.post({ kind: 'output-waited', mode, packets, waitedMs: ms });
      this.#waited[mode] = { packets: 0, ms: 0 };
    }
  }

  protected override execute(effect: Effect): void {
    const { world } = this;
    switch (effect.kind) {
      case 'attach':
        this.attached = true;
        this.#resync.beginPairing();
        this.#generation = world.newGeneration();
        this.#isRenewed = false;
        this.mode = 'buffered';
        this.epoch = epoch(0);
        this.#diskItems = 0;
        this.#packetItems = 0;
        this.#pagesItems = 0;
        this.forgetLeft();
        this.#mirrorWaiting();
        for (let page = 0; page < this.guest.pages.length; page++) this.guest.dirty.add(page);
        return;
      case 'detach':
        this.attached = false;
        this.#copyOwed = false;
        this.#isCopysTurn = false;
        this.pumpDisk();
        return;
      case 'synchronise-disks':
        world.agenda.after(world.random.between(1, 6), () => this.process(() => this.#beginCopy()));
        return;
      case 'live-pass':
        this.#pass(effect.epoch);
        return;
      case 'capture':
        this.#capture(effect.epoch, effect.mode);
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
      this.send({
        kind: 'input',
        epoch: this.epoch,
        card: 0,
        data: toBytes([request.client, request.number, request.base, request.echo]),
      });
    }
    this.give(request);
  }

  protected override answered(answer: Answer): void {
    if (this.attached && this.mode === 'comparing') {
      const number = this.#output(answer);
      if (this.gate.mode === 'holding') this.#comparison.primary(number, answer, this.now);
      return;
    }
    if (this.attached) this.#mirror(answer);
    if (this.attached && this.gate.mode === 'holding' && !this.#outputWaits) {
      this.#outputWaits = true;
      this.#output(answer);
      this.post({ kind: 'output-waits' });
    } else this.#output(answer);
  }

  #output(answer: Answer): number {
    const number = this.output(answer, this.epoch);
    if (this.world.compares) this.#said.set(number, { at: this.now, mode: this.mode });
    return number;
  }

  /** What waits was said before this pair began, or in another one: it is the first epoch's, whatever it was. */
  #mirrorWaiting(): void {
    const waiting = this.gate.waiting();
    this.gate.clear();
    for (const answer of waiting) {
      this.gate.take(answer, this.epoch);
      this.#mirror(answer);
    }
  }

  #mirror(answer: Answer): void {
    this.#packetItems++;
    this.send({ kind: 'output', epoch: this.epoch, card: 0, data: toBytes(toNumbers(answer)) });
  }

  /** The first copy: a block is sent as it is now, among the writes, as far as S's log has room. */
  #synchronise(copy: number, blocks: Iterator<number>, first?: number, isWaiting = false): void {
    for (let block = first ?? nextOf(blocks); block !== undefined; block = nextOf(blocks)) {
      const waits = block;
      if (copy !== this.#copy || !this.attached || this.session === undefined) return;
      if (this.primary.diskWindow.mustWait) {
        if (!isWaiting) {
          this.#copyOwed = true;
          this.post({ kind: 'copy-waits', owed: roomForBlock });
        }
        this.world.agenda.after(1, () => this.process(() => this.#synchronise(copy, blocks, waits, true)));
        return;
      }
      if (isWaiting) {
        this.#copyOwed = false;
        this.#isCopysTurn = false;
        this.#copyMoves();
      }
      isWaiting = false;
      const value = this.guest.blocks[block] ?? (this.disk.cached[block] as number);
      if (this.world.remembers) this.#resync.copies(block, value);
      this.world.count('blocks copied');
      this.#forward(block, value);
    }
    this.#inStep = true;
    this.post({ kind: 'disks-in-step' });
  }

  /** Where the disks may differ: what both sides know, or everything. From then on both are of another generation. */
  #beginCopy(): void {
    const { world, history } = this;
    const copy = ++this.#copy;
    this.#inStep = false;
    if (!world.remembers) {
      this.#synchronise(copy, this.guest.blocks.keys());
      return;
    }
    const kind = this.#resync.meet(world.theirHistory());
    world.count(kind === 'all' ? 'copies of a whole disk' : 'copies of what may differ');
    const { left } = this.#resync;
    if (left < diskBlocks) world.count('copies of less than a disk');
    if (left > blockCount && left < diskBlocks) world.count('copies that go on where they were');
    const still = (): boolean => copy === this.#copy && this.attached && this.session !== undefined;
    const generation = this.#generation;
    this.post({ kind: 'copy-waits', owed: 'disk-generation' });
    this.disk.flush((error) =>
      this.process(() => {
        if (error !== undefined || !still()) return;
        history.renew(generation, this.#resync.suspect);
        this.#resync.renew(generation);
        world.renew(generation, () => {
          if (!still()) return;
          this.#resync.renewed(generation);
          this.#isRenewed = true;
          this.#copyMoves();
          this.#synchronise(copy, this.#resync.copy());
        });
      }),
    );
  }

  /** What was written by the end of this checkpoint is forgotten once that is durable on both sides (src/colo/disk/history). */
  #forget(): void {
    const { world, history } = this;
    const generation = this.#generation;
    const still = (): boolean => !this.dead && this.attached && generation === this.#generation;
    if (!this.#isRenewed) return;
    const through = epoch(this.epoch - 1);
    if (this.#forgets || history.marks.size === 0) return;
    const candidates = [...history.marks].filter((block) => (this.#writtenIn.get(block) ?? 0) <= through);
    const forgets = (here: boolean, there: boolean): void => {
      if (!still() || !world.resyncRules.mayForget(here, there)) return;
      for (const block of candidates) {
        if ((this.#writtenIn.get(block) ?? 0) <= through) history.marks.delete(block);
      }
      if (!there) this.#resync.believe();
      world.count('marks forgotten');
    };
    if (world.resyncRules.mayForget(false, false)) forgets(false, false);
    if (world.resyncRules.mayForget(false, true)) {
      world.askDurable(through, (isDurable) => forgets(false, isDurable));
      return;
    }
    this.#forgets = true;
    this.disk.flush((error) => {
      this.#forgets = false;
      if (error !== undefined) return;
      if (world.resyncRules.mayForget(true, false)) forgets(true, false);
      world.askDurable(through, (isDurable) => {
        if (isDurable) forgets(true, true);
      });
    });
  }

  #look(): void {
    this.world.agenda.after(forgetMs, () => {
      if (this.dead) return;
      this.process(() => {
        if (!this.world.remembers) return;
        if (this.primary.phase === 'protected') this.#forget();
        this.#askDurable();
      });
      this.#look();
    });
  }

  /** While it copies, too. */
  #askDurable(): void {
    if (!this.attached || !this.#isRenewed || this.session === undefined || !this.#resync.ask(this.epoch)) return;
    this.#asksAll = this.#inStep;
    this.send({ kind: 'disk-sync', epoch: this.epoch });
  }

  #durable(epoch: Epoch): void {
    this.#resync.durable(epoch);
    if (!this.#asksAll || !this.#resync.settled()) return;
    this.history.renew(this.#generation, this.#resync.suspect);
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
      if (this.attached && (this.primary.diskWindow.mustWait || this.#isCopysTurn)) {
        this.world.count('the guest waits for room in the disk log');
        return;
      }
      this.guest.taken(request);
      if (this.world.resyncRules.marksWrites) this.history.marks.add(request.block);
      this.#writtenIn.set(request.block, this.attached ? this.epoch : 0);
      if (this.attached) {
        this.#resync.sends(request.block, request.value);
        this.#forward(request.block, request.value);
        this.#isCopysTurn = this.#copyOwed;
      } else this.#resync.note(request.block);
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

  protected override afterFrame({ kind }: Message): void {
    if (kind === 'heartbeat' && this.#copyOwed && this.primary.diskWindow.outstandingBytes < this.#outstanding) {
      this.post({ kind: 'copy-waits', owed: roomForBlock });
      this.moved();
    }
    this.#outstanding = this.primary.diskWindow.outstandingBytes;
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
  #capture(epoch: Epoch, mode: Mode): void {
    const state = this.guest.save(this.now + this.guestClockOffset);
    this.#captured = { pages: this.#dirtyPages(), state };
    this.world.captured(epoch, this.guest, state);
    // Spec B.15: of an epoch that was compared, what still waits travels with its checkpoint.
    if (this.mode === 'comparing') for (const answer of this.gate.waiting(epoch)) this.#mirror(answer);
    this.send({ kind: 'disk-end', epoch, items: this.#diskItems });
    this.send({ kind: 'packets-end', epoch, items: this.#packetItems });
    this.#diskItems = 0;
    this.#packetItems = 0;
    this.#outputWaits = false;
    this.epoch = next(epoch);
    this.#comparison.begin(this.mode === 'comparing');
    this.mode = mode;
    this.#confirmations.begin();
    this.#likes.clear();
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

function nextOf(blocks: Iterator<number>): number | undefined {
  const { done, value } = blocks.next();
  return done === true ? undefined : value;
}
