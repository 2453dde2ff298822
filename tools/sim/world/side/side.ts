import type { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import type { CommonEvent, Effect, Notice } from '../../../../src/colo/core/events.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch as asEpoch, type Role, type Term } from '../../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../../src/colo/protocol/protocol-error.ts';
import { Clock } from '../fakes/clock.ts';
import { FakeDisk } from '../fakes/fake-disk.ts';
import { type Answer, type DiskRequest, FakeGuest, type Request } from '../fakes/fake-guest.ts';
import type { NetworkEnd } from '../fakes/network.ts';
import { Violation } from '../invariants/violation.ts';
import { DiskHistory } from '../resync/disk-history.ts';
import type { Surroundings } from '../surroundings.ts';
import { CoreTimers } from './core-timers.ts';
import { FakeAnnouncement } from './fake-announcement.ts';
import { HostProcess } from './host-process.ts';
import type { Legacy, ProcessLegacy } from './legacy.ts';
import { type OutputOwner, TapWriter } from './tap-writer.ts';
import { traceOf } from './trace.ts';

/** What the simulation puts among a core's effects: a packet that is written. */
export type Step = Effect | { readonly kind: 'write'; readonly answer: Answer };

/** Clocks differ so much, more than any crystal: within what the settings allow for (clockRateError). */
const rates = [-0.18, 0, 0.18];

/** A core, whichever of the two. */
export interface Core<E> {
  readonly phase: string;
  readonly step: string;
  readonly term: Term;
  handle(event: E, now: number): readonly Effect[];
}

/** A process of one of the two roles: runs its core's effects one by one, each of which may be its last, or last long. */
export abstract class Side<E extends { readonly kind: string }>
  extends HostProcess<Step>
  implements NetworkEnd, OutputOwner
{
  readonly holder: object;
  readonly core: Core<E | CommonEvent>;
  readonly clock: Clock;
  readonly disk: FakeDisk;
  readonly history: DiskHistory;
  readonly gate: Gate<Answer>;
  /** When something of what it says could leave last, for the other side consented. */
  permittedAt = 0;
  readonly tap: TapWriter;
  readonly announcement: FakeAnnouncement;
  readonly #timers: CoreTimers;
  guest: FakeGuest;
  /** The guest's clock is the side's clock and this. */
  guestClockOffset = 0;
  guestRuns = false;

  /** Writes of the term fail. */
  termDiskFails = false;
  /** The term on disk. */
  durableTerm: number;
  diskFailureKnown = false;
  session: number | undefined;
  /** The last one that is over. */
  #lastSession = -1;

  constructor(
    world: Surroundings,
    role: Role,
    core: Core<E | CommonEvent>,
    gate: Gate<Answer>,
    legacy?: ProcessLegacy | Legacy,
  ) {
    super(world, role);
    this.core = core;
    this.gate = gate;
    this.durableTerm = core.term;
    const { random } = world;
    const rate = 1 + random.pick(rates);
    this.holder = legacy?.holder ?? {};
    this.clock = legacy?.clock ?? new Clock(rate, random.between(1000, 100_000));
    this.disk = legacy?.disk ?? new FakeDisk(world.agenda);
    this.history = legacy?.history ?? new DiskHistory();
    this.tap = new TapWriter(this, random.chance(0.3) ? random.between(1, 15) : 0.02);
    this.#timers = new CoreTimers(
      world.agenda,
      this.clock,
      (run) => this.process(run),
      (timer) => this.#handle({ kind: 'timer', timer, turned: !this.hung }),
    );
    const guest = legacy !== undefined && 'guest' in legacy ? legacy : undefined;
    this.guest = guest?.guest ?? this.newGuest();
    this.announcement = guest?.announcement ?? new FakeAnnouncement(this);
    this.announcement.goOnAs(this);
    if (guest !== undefined) {
      this.guestClockOffset = guest.guestClockOffset;
      this.guest.setClock = () => this.now + this.guestClockOffset;
    }
    this.progress.notice(core);
  }

  newGuest(): FakeGuest {
    const guest = new FakeGuest(this.world.randomOf(this.role));
    guest.acknowledges = this.world.compares;
    guest.setClock = () => this.now + this.guestClockOffset;
    return guest;
  }

  /** What this side's clock shows. */
  get now(): number {
    return this.clock.at(this.world.agenda.now);
  }

  // What reaches the process

  post(event: E | CommonEvent): void {
    this.process(() => this.#handle(event));
  }

  /** One that comes when it is not waited for any more is dropped (src/colo/side/primary/standby-contact.ts). */
  connected(session: number): void {
    this.process(() => {
      if (!this.awaitsConnection) return;
      this.session = session;
      this.#handle({ kind: 'connected' } as E & CommonEvent);
    });
  }

  protected get awaitsConnection(): boolean {
    return false;
  }

  frame(session: number, frame: Frame): void {
    this.process(() => {
      // What came while a frozen process had not yet closed its connection is nobody's.
      if (session !== (this.session ?? session) || session <= this.#lastSession) return;
      this.session = session;
      this.#handle({ kind: 'frame', frame });
      this.afterFrame(frame.message);
    });
  }

  #endSession(): void {
    this.#lastSession = this.session ?? this.#lastSession;
    this.session = undefined;
  }

  /** Bytes or frames that no honest peer sends. */
  hostile(frame: Frame | ProtocolError): void {
    if (frame instanceof ProtocolError) this.post({ kind: 'peer-broke', error: frame });
    else this.post({ kind: 'frame', frame });
  }

  closed(session: number, by: 'peer' | 'network'): void {
    this.process(() => {
      if (session !== this.session) return;
      this.#endSession();
      this.#handle({ kind: 'closed', by });
    });
  }

  /** A client's packet is on the bridge. */
  request(request: Request): void {
    this.process(() => this.takeRequest(request));
  }

  diskFailed(error: string): void {
    this.process(() => {
      this.diskFailureKnown = true;
      this.#handle({ kind: 'disk-failed', error });
    });
  }

  #handle(event: E | CommonEvent): void {
    const { core, world } = this;
    const effects = core.handle(event, this.now);
    if (world.tracing) {
      const line = traceOf(event, effects, core);
      if (line !== undefined) world.trace(this, line);
    }
    this.queue.append(effects);
    this.progress.notice(core);
  }

  // Another role

  /** What came is not dealt with yet, or not all of what is to be done about it is done. */
  get isBusy(): boolean {
    return !this.queue.isIdle;
  }

  /** Nothing is under way here: the process may take another role. */
  get isSettled(): boolean {
    return this.isWell && this.guestRuns && !this.isBusy;
  }

  /** It goes on in another role: nothing happens here any more. What the disk had not completed is done again. */
  retire(): Omit<Legacy, 'translation'> {
    this.dead = true;
    const { holder, clock, disk, history, gate, guest, guestClockOffset, announcement } = this;
    for (const request of guest.queue) request.taken = false;
    return { holder, clock, disk, history, gate, guest, guestClockOffset, announcement };
  }

  // Effects

  before(step: Step): void {
    this.world.before(this, step.kind);
  }

  /** These steps come before all others. */
  first(...steps: readonly Step[]): void {
    this.queue.first(steps);
  }

  /** What both roles do, and the rest. */
  execute(step: Step): void {
    const { world } = this;
    switch (step.kind) {
      case 'connect':
        world.network.connect();
        return;
      case 'send':
        this.send(step.message, step.term);
        return;
      case 'close':
        this.#endSession();
        world.network.close(this.role);
        return;
      case 'timer':
        this.#timers.set(step.timer, step.at);
        return;
      case 'ask-arbiter':
        world.arbiter.ask(this, step.term, step.byOperator, (answer) =>
          this.post({ kind: 'arbiter', term: step.term, answer }),
        );
        return;
      case 'write-term':
        this.#writeTerm(step.term);
        return;
      case 'permit':
        this.gate.permit(step.through, step.until);
        if (this.now < step.until) this.permittedAt = this.world.agenda.now;
        this.tap.drain();
        return;
      case 'open':
        this.gate.set('direct');
        world.speakers.opened(this);
        this.tap.drain();
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
        this.announcement.start();
        return;
      case 'refuse':
        world.count(`refused: ${step.error}`);
        return;
      case 'tell':
        this.noticed(step.notice);
        world.told(this, step.notice);
        return;
      case 'exit':
        this.tap.drainAtOnce();
        this.die(true);
        return;
      case 'give-away':
        this.durableTerm = step.term;
        return;
      case 'step-down':
        this.durableTerm = step.term;
        this.die(true);
        return;
      default:
        this.executeOwn(step);
    }
  }

  #writeTerm(term: Term): void {
    const { agenda, random } = this.world;
    agenda.after(random.between(0.2, 2), () => {
      if (this.dead) return;
      if (this.termDiskFails) return this.post({ kind: 'term-failed', term });
      this.durableTerm = term;
      this.post({ kind: 'term-written', term });
    });
  }

  send(message: Message, term = this.core.term): void {
    if (term > this.durableTerm) {
      throw new Violation('B.6', `${this.role} says ${message.kind} in term ${term}, which is not on its disk`);
    }
    this.world.network.send(this.role, { role: this.role, term, message });
  }

  /** What only one of the two roles does. */
  protected abstract executeOwn(step: Effect): void;
  protected noticed(_notice: Notice): void {}
  protected afterFrame(_message: Message): void {}

  // The guest

  protected abstract takeRequest(request: Request): void;
  protected abstract answered(answer: Answer): void;
  /** The disk takes what is in the guest's queue. */
  protected abstract pumpDisk(): void;

  /** The guest takes a request from the network. */
  give(request: Request): void {
    const answer = this.guest.take(request);
    if (answer === 'gap') {
      // A primary whose clients are served elsewhere, and whose output is held or dropped.
      if (this.world.speakers.servedElsewhere(this)) return;
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

  /** The disk is done with a request of the guest's. */
  completed(request: DiskRequest): void {
    const answer = this.guest.completed(request);
    if (answer !== undefined && this.guestRuns) this.answered(answer);
  }

  /** The guest's answer goes to the gate. Its number there. */
  output(answer: Answer, epoch = asEpoch(0)): number {
    const number = this.gate.take(answer, epoch);
    if (this.gate.mode === 'direct') this.tap.drain();
    return number;
  }

  hasLeft(_number: number): void {}
  isLost(_number: number): boolean {
    return false;
  }
  reportLeft(_left: number): void {}
}
