import type { Gate } from '../../../src/colo/core/epochs/gate.ts';
import type { CommonEvent, Effect, Notice, TimerName } from '../../../src/colo/core/events.ts';
import type { Frame } from '../../../src/colo/protocol/frame.ts';
import type { Message } from '../../../src/colo/protocol/messages.ts';
import { epoch as asEpoch, peerOf, type Role, type Term } from '../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { Clock } from './clock.ts';
import { DiskHistory } from './disk-history.ts';
import { FakeDisk } from './fake-disk.ts';
import { type Answer, type DiskRequest, FakeGuest, type Request } from './fake-guest.ts';
import type { NetworkEnd } from './network.ts';
import type { Resync } from './resync.ts';
import type { SideView, Surroundings } from './surroundings.ts';
import { Violation } from './violation.ts';

/** What the simulation puts among a core's effects: a packet that is written. */
export type Step = Effect | { readonly kind: 'write'; readonly answer: Answer };

/** Clocks differ so much, more than any crystal: within what the settings allow for (clockRateError). */
const rates = [-0.18, 0, 0.18];

/** What a process has, whatever it is about. */
export interface ProcessLegacy {
  readonly holder: object;
  readonly clock: Clock;
  readonly disk: FakeDisk;
  readonly history: DiskHistory;
}

/** What a process has that takes another role (spec B.7). */
export interface Legacy extends ProcessLegacy {
  /** What has not left. */
  readonly gate: Gate<Answer>;
  readonly guest: FakeGuest;
  readonly guestClockOffset: number;
  /** Blocks that its guest wrote since it took over, for nobody to be sent. */
  readonly written?: readonly number[];
  /** What it knows of a standby's disk, if it was a primary before. */
  readonly resync?: Resync;
}

/** A core, whichever of the two. */
export interface Core<E> {
  readonly phase: string;
  readonly step: string;
  readonly term: Term;
  handle(event: E, now: number): readonly Effect[];
}

/**
 * One process on one host: runs a core's effects one by one, each of which may be its last, or last long. While it is frozen,
 * events wait as they would in sockets and timers.
 */
export abstract class Side<E extends { readonly kind: string }> implements NetworkEnd, SideView {
  readonly role: Role;
  readonly holder: object;
  readonly world: Surroundings;
  readonly core: Core<E | CommonEvent>;
  readonly clock: Clock;
  readonly disk: FakeDisk;
  readonly history: DiskHistory;
  readonly gate: Gate<Answer>;
  guest: FakeGuest;
  /** The guest's clock is the side's clock and this. */
  guestClockOffset = 0;
  guestRuns = false;

  /** The process is gone. */
  dead = false;
  deadSince = Number.POSITIVE_INFINITY;
  exitCode: number | undefined;
  frozen = false;
  /** A thread does not turn: nothing is vouched for. */
  hung = false;
  unwellSince = Number.POSITIVE_INFINITY;
  /** What it said before it became unwell arrives until then. */
  heardUntil = 0;
  /** Writes of the term fail. */
  termDiskFails = false;
  /** The term on disk. */
  durableTerm: number;
  loadFails = false;
  diskFailureKnown = false;
  session: number | undefined;
  /** The TAP takes nothing before this. */
  tapBusyUntil = 0;
  #draining = false;
  /** It takes so long for a packet, ms. */
  readonly #tapMs: number;

  #steps: Step[] = [];
  #next = 0;
  #busy = false;
  readonly #inbox: (() => void)[] = [];
  readonly #timers = new Map<TimerName, number>();
  #timerGeneration = 0;
  #leftReported = asEpoch(-1);
  /** When this core came where it is, and how long it was unwell since. */
  place = '';
  placeSince = 0;
  phaseSince = 0;
  #lastPhase = '';
  #lastStep = '';

  constructor(
    world: Surroundings,
    role: Role,
    core: Core<E | CommonEvent>,
    gate: Gate<Answer>,
    legacy?: ProcessLegacy | Legacy,
  ) {
    this.world = world;
    this.role = role;
    this.core = core;
    this.gate = gate;
    this.durableTerm = core.term;
    const { random } = world;
    const rate = 1 + random.pick(rates);
    this.holder = legacy?.holder ?? {};
    this.clock = legacy?.clock ?? new Clock(rate, random.between(1000, 100_000));
    this.disk = legacy?.disk ?? new FakeDisk(world.agenda);
    this.history = legacy?.history ?? new DiskHistory();
    this.#tapMs = random.chance(0.3) ? random.between(1, 15) : 0.02;
    const guest = legacy !== undefined && 'guest' in legacy ? legacy : undefined;
    this.guest = guest?.guest ?? this.newGuest();
    if (guest !== undefined) {
      this.guestClockOffset = guest.guestClockOffset;
      this.guest.setClock = () => this.now + this.guestClockOffset;
    }
    this.noticePlace();
  }

  protected newGuest(): FakeGuest {
    const guest = new FakeGuest(this.world.randomOf(this.role));
    guest.acknowledges = this.world.compares;
    guest.setClock = () => this.now + this.guestClockOffset;
    return guest;
  }

  /** What this side's clock shows. */
  get now(): number {
    return this.clock.at(this.world.agenda.now);
  }

  get isWell(): boolean {
    return !this.dead && !this.frozen && !this.hung;
  }

  // What reaches the process

  /** Runs it once everything before it is done; while the process is frozen, later. */
  process(run: () => void): void {
    if (this.dead) return;
    this.#inbox.push(run);
    this.#pump();
  }

  post(event: E | CommonEvent): void {
    this.process(() => this.#handle(event));
  }

  connected(session: number): void {
    this.session = session;
    this.post({ kind: 'connected' } as E & CommonEvent);
  }

  frame(session: number, frame: Frame): void {
    this.process(() => {
      if (this.session !== undefined && session !== this.session) return;
      this.session ??= session;
      this.#handle({ kind: 'frame', frame });
      this.afterFrame(frame.message);
    });
  }

  closed(session: number, by: 'peer' | 'network'): void {
    this.process(() => {
      if (session !== this.session) return;
      this.session = undefined;
      this.#handle({ kind: 'closed', by });
    });
  }

  /** A client's packet is on the bridge. */
  request(request: Request): void {
    this.process(() => this.takeRequest(request));
  }

  #handle(event: E | CommonEvent): void {
    const effects = this.core.handle(event, this.now);
    if (this.world.tracing) this.#trace(event, effects);
    this.#steps.push(...effects);
    this.noticePlace();
  }

  /** Steps of the last event first, each of which may be the last one for a while; then the next event. */
  #pump(): void {
    if (this.#busy) return;
    this.#busy = true;
    while (!this.dead && !this.frozen) {
      if (this.#next < this.#steps.length) {
        const step = this.#steps[this.#next] as Step;
        this.world.before(this, step.kind);
        if (this.dead || this.frozen) break;
        this.#next++;
        this.#execute(step);
      } else {
        if (this.#next > 0) {
          this.#steps = [];
          this.#next = 0;
        }
        const run = this.#inbox.shift();
        if (run === undefined) break;
        run();
      }
    }
    this.#busy = false;
  }

  /** These steps come before all others. */
  protected first(...steps: readonly Step[]): void {
    this.#steps.splice(this.#next, 0, ...steps);
  }

  // Faults

  freeze(durationMs: number): void {
    if (this.dead || this.frozen) return;
    this.frozen = true;
    this.unwell();
    this.world.agenda.after(durationMs, () => this.thaw());
  }

  thaw(): void {
    if (this.dead || !this.frozen) return;
    this.frozen = false;
    this.well();
    this.#pump();
  }

  unwell(): void {
    if (this.unwellSince !== Number.POSITIVE_INFINITY) return;
    this.unwellSince = this.world.agenda.now;
    this.heardUntil = this.world.network.latestArrival[this.role];
  }

  well(): void {
    if (this.frozen || this.hung) return;
    this.unwellSince = Number.POSITIVE_INFINITY;
    this.placeSince = this.world.agenda.now;
    this.phaseSince = this.placeSince;
  }

  /** Nothing is under way here: the process may take another role. */
  get isSettled(): boolean {
    return this.isWell && this.guestRuns && !this.#busy && this.#next >= this.#steps.length && this.#inbox.length === 0;
  }

  /** It goes on in another role: nothing happens here any more. What the disk had not completed is done again. */
  retire(): Legacy {
    this.dead = true;
    const { holder, clock, disk, history, gate, guest, guestClockOffset } = this;
    for (const request of guest.queue) request.taken = false;
    return { holder, clock, disk, history, gate, guest, guestClockOffset };
  }

  /** The process ends; `closes`: there is still a kernel, which closes its connections. */
  die(closes: boolean): void {
    if (this.dead) return;
    this.dead = true;
    this.deadSince = this.world.agenda.now;
    this.unwell();
    if (closes) this.world.network.close(this.role);
    else this.world.network.powerLost(this.role);
  }

  // Effects

  #execute(step: Step): void {
    const { world } = this;
    switch (step.kind) {
      case 'connect':
        world.network.connect();
        return;
      case 'send':
        this.send(step.message, step.term);
        return;
      case 'close':
        this.session = undefined;
        world.network.close(this.role);
        return;
      case 'timer':
        this.#setTimer(step.timer, step.at);
        return;
      case 'ask-arbiter':
        world.arbiter.ask(this, step.term, step.byOperator, (answer) =>
          this.post({ kind: 'arbiter', term: step.term, answer }),
        );
        return;
      case 'write-term':
        world.agenda.after(world.random.between(0.2, 2), () => {
          if (this.dead) return;
          const { term } = step;
          if (this.termDiskFails) return this.post({ kind: 'term-failed', term });
          this.durableTerm = term;
          this.post({ kind: 'term-written', term });
        });
        return;
      case 'permit':
        this.gate.permit(step.through, step.until);
        this.drain();
        return;
      case 'hold':
        this.gate.set('holding');
        return;
      case 'open':
        this.gate.set('direct');
        world.opened(this);
        this.drain();
        return;
      case 'shut':
        this.gate.set('shut');
        return;
      case 'write':
        world.spoken(this, step.answer);
        return;
      case 'pause-guest':
        this.guestRuns = false;
        return;
      case 'announce':
        world.speaks(this);
        return;
      case 'refuse':
        world.count(`refused: ${step.error}`);
        return;
      case 'tell':
        this.noticed(step.notice);
        world.told(this, step.notice);
        return;
      case 'exit':
        // In order: what may leave leaves first.
        while (this.gate.mode === 'direct' && this.#writeNext());
        this.exitCode = step.exitCode;
        this.die(true);
        return;
      case 'step-down':
        this.durableTerm = step.term;
        this.die(true);
        return;
      default:
        this.execute(step);
    }
  }

  protected noticed(_notice: Notice): void {}
  /** What only one of the two roles does. */
  protected abstract execute(step: Effect): void;
  protected abstract takeRequest(request: Request): void;
  /** The disk takes what is in the guest's queue. */
  protected abstract pumpDisk(): void;
  protected afterFrame(_message: Message): void {}

  send(message: Message, term = this.core.term): void {
    if (term > this.durableTerm) {
      throw new Violation('B.6', `${this.role} says ${message.kind} in term ${term}, which is not on its disk`);
    }
    this.world.network.send(this.role, { role: this.role, term, message });
  }

  /** The guest answers. */
  protected output(answer: Answer, epoch = asEpoch(0)): number {
    const number = this.gate.take(answer, epoch);
    if (this.gate.mode === 'direct') this.drain();
    return number;
  }

  /** Writes what may be written, a packet at a time, when the TAP takes it: each asks the gate at the very write. */
  protected drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    const { agenda } = this.world;
    agenda.at(Math.max(agenda.now + this.#tapMs, this.tapBusyUntil), () =>
      this.process(() => {
        this.#draining = false;
        this.world.before(this, 'release');
        if (this.dead) return;
        if (this.frozen) this.drain();
        else if (this.#writeNext()) this.drain();
      }),
    );
  }

  /** A packet to the network, if one may leave now. */
  #writeNext(): boolean {
    const number = this.gate.nextNumber;
    const answer = this.gate.next(this.now);
    if (answer !== undefined) {
      if (!this.isLost(number)) this.world.spoken(this, answer);
      this.hasLeft(number);
      return true;
    }
    const { left } = this.gate;
    if (this.gate.mode === 'holding' && left > this.#leftReported) {
      this.#leftReported = left;
      this.reportLeft(left);
    }
    return false;
  }

  protected forgetLeft(): void {
    this.#leftReported = asEpoch(-1);
  }

  protected reportLeft(_left: number): void {}
  /** The packet of that number is out. */
  protected hasLeft(_number: number): void {}
  /** A broken rule has it vanish. */
  protected isLost(_number: number): boolean {
    return false;
  }

  /** The guest takes a request from the network. */
  protected give(request: Request): void {
    const answer = this.guest.take(request);
    if (answer === 'gap') {
      // A primary whose clients are served elsewhere, and whose output is held or dropped.
      if (this.world.servedElsewhere(this)) return;
      throw new Violation(
        'C.2',
        `${this.role}'s guest gets question ${request.number} of client ${request.client}, and never gave the answer before it`,
      );
    }
    if ((answer === 'disk' || answer === 'ack') && this.guest.acknowledges) {
      this.answered(this.guest.acknowledgement(request));
    }
    if (answer === 'disk') this.pumpDisk();
    else if (answer === 'ack') return;
    else if (answer !== undefined) this.answered(answer);
  }

  protected abstract answered(answer: Answer): void;

  protected completed(request: DiskRequest): void {
    const answer = this.guest.completed(request);
    if (answer !== undefined && this.guestRuns) this.answered(answer);
  }

  protected diskFailed(error: string): void {
    this.process(() => {
      this.diskFailureKnown = true;
      this.#handle({ kind: 'disk-failed', error });
    });
  }

  #setTimer(timer: TimerName, at: number): void {
    const generation = ++this.#timerGeneration;
    this.#timers.set(timer, generation);
    if (at === Number.POSITIVE_INFINITY) return;
    this.world.agenda.at(this.clock.when(at), () => {
      if (this.#timers.get(timer) !== generation) return;
      this.process(() => {
        if (this.#timers.get(timer) !== generation) return;
        this.#handle({ kind: 'timer', timer, turned: !this.hung });
      });
    });
  }

  /** Bytes or frames that no honest peer sends. */
  hostile(frame: Frame | ProtocolError): void {
    if (frame instanceof ProtocolError) this.post({ kind: 'peer-broke', error: frame });
    else this.post({ kind: 'frame', frame });
  }

  /** What it waits for came, in part: its patience begins anew. */
  protected moved(): void {
    this.placeSince = this.world.agenda.now;
  }

  noticePlace(): void {
    const { phase, step } = this.core;
    if (phase === this.#lastPhase && step === this.#lastStep) return;
    if (phase !== this.#lastPhase) this.phaseSince = this.world.agenda.now;
    this.#lastPhase = phase;
    this.#lastStep = step;
    const place = `${this.role} ${phase}/${step}`;
    this.place = place;
    this.placeSince = this.world.agenda.now;
    this.world.count(place);
  }

  #trace(event: { readonly kind: string }, effects: readonly Effect[]): void {
    const detail = nameOf(event);
    const done = effects
      .filter((effect) => effect.kind !== 'timer')
      .map(nameOf)
      .join(', ');
    if (detail === 'timer heartbeat' && done === 'send heartbeat') return;
    if (detail === 'frame heartbeat' && (done === '' || done === 'permit' || done === 'send heartbeat')) return;
    this.world.trace(this, `${detail} -> ${this.core.phase}/${this.core.step}${done === '' ? '' : `: ${done}`}`);
  }

  get peer(): Role {
    return peerOf(this.role);
  }
}

/** An event or effect for a person. */
function nameOf(thing: object & { readonly kind: string }): string {
  const { kind } = thing;
  const rest = thing as Record<string, unknown>;
  const number = (value: unknown) => (value === undefined ? '' : ` ${String(value)}`);
  switch (kind) {
    case 'frame': {
      const { message } = rest.frame as Frame;
      return `frame ${message.kind}${number((message as { epoch?: number }).epoch)}`;
    }
    case 'send':
      return `send ${(rest.message as Message).kind}${number((rest.message as { epoch?: number }).epoch)}`;
    case 'timer':
      return `timer ${String(rest.timer)}`;
    case 'command':
      return `command ${(rest.command as { name: string }).name}`;
    case 'stage':
      return 'stage';
    case 'tell':
      return `tell ${(rest.notice as { kind: string }).kind}`;
    case 'arbiter':
      return `arbiter ${String(rest.answer)} for term ${String(rest.term)}`;
    case 'closed':
      return `closed by ${String(rest.by)}`;
    default:
      return `${kind}${number(rest.epoch ?? rest.term ?? rest.through ?? rest.error)}`;
  }
}
