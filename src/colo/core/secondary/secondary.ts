import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import {
  type EndReason,
  type EpochItem,
  type Heartbeat as HeartbeatMessage,
  type Hello,
  type Message,
  type OutputConfirmed,
  protocolVersion,
  wantedFor,
} from '../../protocol/messages.ts';
import { type Epoch, next, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { refusals } from '../commands.ts';
import type { Command, Effect, Notice, SecondaryEvent, TimerName } from '../events.ts';
import { Claim } from '../fencing/claim.ts';
import { ConsentGiven } from '../fencing/consent.ts';
import { newFailover } from '../fencing/failover.ts';
import { Heartbeat } from '../fencing/heartbeat.ts';
import { StateMachine } from '../moves.ts';
import { differences, disagreements } from '../pairing.ts';
import { type Rules, specification } from '../rules.ts';
import type { Settings } from '../settings.ts';
import { type SecondaryPhase, type SecondaryStep, secondaryMoves, secondarySteps } from './secondary-phase.ts';
import { Staging } from './staging.ts';

const never = Number.POSITIVE_INFINITY;

/** What a secondary is made of. */
export interface SecondaryOptions {
  readonly pair: string;
  /** What this machine could be. */
  readonly shape: MachineShape;
  /** The term on this side's disk. */
  readonly term: Term;
  readonly settings: Settings;
  readonly rules?: Rules;
}

/**
 * The secondary: gathers checkpoints, and takes over from the last one it received, if it must and may.
 *
 * Without I/O: events come in with this side's clock (ms), what is to be done goes out, in order.
 */
export class Secondary {
  readonly #options: SecondaryOptions;
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #phase = new StateMachine<SecondaryPhase>('secondary', secondaryMoves, 'listening');
  #step = new StateMachine<SecondaryStep>('checkpoint', secondarySteps, 'waiting');
  readonly #failover = newFailover();
  readonly #heartbeat: Heartbeat;
  #consent: ConsentGiven;
  #claim: Claim;
  #staging: Staging;
  #term: Term;
  /** The term of a primary that waits for its welcome. */
  #greeted: Term | undefined;
  /** The last checkpoint of which RECEIVED was said, and the last that is the guest's. */
  #received = noCheckpoint;
  #loaded = noCheckpoint;
  /** Whether the guest runs here, from the checkpoint that is loaded, or was stopped in that epoch (comparing mode). */
  #guest: 'none' | 'running' | 'paused' = 'none';
  /** The guest is to run from the checkpoint that is gathered, and from the one that is being loaded. */
  #comparesNext = false;
  #compares = false;
  /** When the stop of each of these two was over, by this side's clock. */
  #receivedAt = 0;
  #stagedAt = 0;
  #laidBytes = 0;
  /** P counts on it, and nobody was told that this is over. */
  #protects = false;
  #diskError: string | undefined;
  #turned = true;
  #now = 0;
  #effects: Effect[] = [];

  constructor(options: SecondaryOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#rules = options.rules ?? specification;
    this.#term = options.term;
    this.#heartbeat = new Heartbeat(this.#rules, options.settings);
    this.#consent = new ConsentGiven(this.#rules, options.settings);
    this.#claim = new Claim(options.term, this.#rules, options.settings);
    this.#staging = new Staging(this.#rules);
  }

  get phase(): SecondaryPhase {
    return this.#phase.state;
  }

  get step(): SecondaryStep {
    return this.#step.state;
  }

  get term(): Term {
    return this.#term;
  }

  /** The last checkpoint of which this side said that it has it. */
  get received(): Epoch {
    return this.#received;
  }

  /** Whether its guest runs, and is compared. */
  get guest(): 'none' | 'running' | 'paused' {
    return this.#guest;
  }

  /** Takes an event; what is to be done about it, in order. */
  handle(event: SecondaryEvent, now: number): readonly Effect[] {
    this.#now = now;
    this.#effects = [];
    try {
      this.#handle(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message, 'network');
    }
    return this.#effects;
  }

  #handle(event: SecondaryEvent): void {
    switch (event.kind) {
      case 'command':
        this.#command(event.command);
        return;
      case 'frame':
        this.#frame(event.frame);
        return;
      case 'closed':
        this.#lose(event.by === 'peer' ? 'the peer closed the connection' : 'the connection broke', event.by);
        return;
      case 'peer-broke':
        this.#lose(event.error.message, 'network');
        return;
      case 'timer':
        this.#timer(event.timer, event.turned);
        return;
      case 'loaded':
        this.#ramLoaded(event.epoch);
        return;
      case 'copy-moved':
        this.#copyMoved();
        return;
      case 'load-failed':
        this.#fail(`checkpoint ${event.epoch} cannot be loaded: ${event.reason}`);
        return;
      case 'disk-committed':
        this.#diskCommitted(event.epoch);
        return;
      case 'started':
        this.#started(event.epoch);
        return;
      case 'own-room-half':
        if (this.#guest === 'running' && this.phase === 'protecting') {
          this.#send({ kind: 'checkpoint-wanted', why: wantedFor[event.of] });
        }
        return;
      case 'disk-laid':
        this.#laidBytes = event.bytes;
        this.#copyMoved();
        return;
      case 'disk-log-half':
        if (this.phase === 'protecting') this.#send({ kind: 'checkpoint-wanted', why: wantedFor.diskLog });
        return;
      case 'disk-failed':
        this.#diskFailed(event.error);
        return;
      case 'arbiter':
        this.#claim.answered(event.term, event.answer, this.#now, this.#effects);
        this.#tryToGoLive();
        return;
      case 'term-written':
        this.#termWritten(event.term);
        return;
      case 'term-failed':
        if (this.phase === 'greeting') this.#backToListening('the term cannot be written', true);
        return; // in a claim, and when the guest is handed over, the alarm tries again
      case 'guest-ended':
        if (this.phase === 'live') this.#exit(event.exitCode);
        // Spec B.13: that is divergence, unless P's ends too, and then P says so.
        else if (this.#guest === 'running' && this.phase === 'protecting') {
          this.#send({ kind: 'checkpoint-wanted', why: wantedFor.guest });
        }
        return;
      default:
        event satisfies never;
    }
  }

  // Commands

  #command(command: Command): void {
    switch (command.name) {
      case 'failover':
      case 'lost-heartbeat':
        this.#lostHeartbeat(command.name, command.sure);
        return;
      case 'unprotect':
        if (!hasPeer(this.phase) || this.phase === 'greeting') {
          this.#refuse(command, refusals.notProtected);
          return;
        }
        if (this.phase === 'taking-over') {
          this.#refuse(command, refusals.switching);
          return;
        }
        // Asked twice, it is done once.
        if (this.phase !== 'leaving') this.#leave('unprotect');
        return;
      case 'protect':
      case 'checkpoint':
      case 'switchover':
      case 'set-checkpoint-delay':
        this.#refuse(command, refusals.notASecondarys);
        return;
      default:
        command satisfies never;
    }
  }

  #lostHeartbeat(name: 'failover' | 'lost-heartbeat', sure: boolean): void {
    if (this.phase === 'claiming' && this.#claim.state === 'asking') {
      this.#claim.operatorSays(sure, this.#now, this.#effects);
      this.#tryToGoLive();
      return;
    }
    if (this.#failover.state !== 'none') {
      this.#refuse({ name }, refusals.failingOver);
      return;
    }
    if (this.phase === 'seeding' || this.phase === 'ready') {
      this.#refuse({ name }, refusals.notReady);
      return;
    }
    if (this.phase !== 'protecting' && this.phase !== 'taking-over') {
      this.#refuse({ name }, refusals.noColo);
      return;
    }
    this.#lose('an operator says that it is lost', 'network', { byOperator: true, sure });
  }

  #refuse(command: { readonly name: Command['name'] }, error: string): void {
    this.#do({ kind: 'refuse', command: command.name, error });
  }

  // Pairing (spec A.2.1, B.14)

  #hello(hello: Hello, term: Term): void {
    if (this.phase !== 'listening') throw outOfOrder(hello.kind, this.#expected());
    const refusal = this.refusal(hello, term);
    if (refusal !== undefined) {
      this.#send({ kind: 'refusal', reason: refusal });
      this.#do({ kind: 'close' });
      return;
    }
    this.#phase.move('greeting');
    this.#greeted = term;
    if (term === this.#term) this.#welcome();
    else {
      this.#do({ kind: 'write-term', term });
      if (this.#rules.mayWelcome(false)) this.#termWritten(term);
    }
  }

  /** Why this standby will not have that primary, which greets it in that term; undefined if it will. Changes nothing. */
  refusal(hello: Hello, term: Term): string | undefined {
    const { version, pair, shape } = hello;
    const own = this.#options;
    if (version !== protocolVersion) {
      return `it speaks version ${protocolVersion} of the protocol, not ${version}: run the same colo-vmm on both`;
    }
    if (pair !== own.pair) return `it stands by for the pair "${own.pair}", not "${pair}"`;
    if (term < this.#term) return `its pair is in term ${this.#term} already, that machine in term ${term}`;
    const found = [...disagreements(hello, this.#settings), ...differences(shape, own.shape)];
    return found.length === 0 ? undefined : found.join('; ');
  }

  #termWritten(term: Term): void {
    if (this.phase === 'greeting' && term === this.#greeted) {
      this.#term = term;
      this.#welcome();
      return;
    }
    if (this.phase === 'taking-over') {
      this.#handoverReady(term);
      return;
    }
    this.#claim.termWritten(term, this.#effects);
    this.#tryToGoLive();
  }

  #welcome(): void {
    this.#phase.move('seeding');
    this.#step = new StateMachine<SecondaryStep>('checkpoint', secondarySteps, 'waiting');
    this.#staging = new Staging(this.#rules);
    this.#consent = new ConsentGiven(this.#rules, this.#settings);
    this.#claim = new Claim(this.#term, this.#rules, this.#settings);
    this.#received = noCheckpoint;
    this.#loaded = noCheckpoint;
    this.#laidBytes = 0;
    this.#protects = false;
    this.#guest = 'none';
    this.#compares = false;
    this.#comparesNext = false;
    this.#do({ kind: 'attach' });
    this.#send({ kind: 'welcome', shape: this.#options.shape });
    this.#copyMoved();
    this.#heartbeat.start(this.#now);
    this.#beat();
  }

  // Frames

  #frame({ term, message }: Frame): void {
    if (message.kind === 'hello') {
      this.#hello(message, term);
      return;
    }
    if (!hasPeer(this.phase)) return; // what came before the peer heard that this is over
    if (!this.#rules.acceptsTerm(term, this.#term)) {
      throw new ProtocolError('wrong-term', `the peer sent ${message.kind} of term ${term} in term ${this.#term}`);
    }
    switch (message.kind) {
      case 'protected':
        if (this.phase !== 'ready') throw outOfOrder(message.kind, this.#expected());
        this.#phase.move('protecting');
        this.#protects = true;
        this.#setTimer('step', never);
        this.#tell({ kind: 'protected', term: this.#term });
        return;
      case 'refusal':
        this.#backToListening(`the primary refuses this standby: ${message.reason}`, true);
        return;
      case 'heartbeat':
        this.#answer(message);
        return;
      case 'end':
        this.#peerEnds(message.reason, message.exitCode);
        return;
      case 'ended':
        if (this.phase !== 'leaving') throw outOfOrder(message.kind, this.#expected());
        this.#left();
        return;
      case 'checkpoint-request':
      case 'vmstate-send':
      case 'vmstate-size':
        this.#checkpointMessage(message);
        return;
      case 'handover':
        this.#handover(message.epoch);
        return;
      case 'handover-done':
        this.#handoverDone(message.epoch);
        return;
      case 'pages':
      case 'pages-end':
      case 'vmstate':
      case 'disk-write':
      case 'disk-discard':
      case 'disk-zeroes':
      case 'disk-end':
      case 'output':
      case 'input':
      case 'packets-end':
      case 'output-left':
        this.#item(message);
        return;
      case 'output-confirmed':
        this.#confirmed(message);
        return;
      default:
        throw outOfOrder(message.kind, this.#expected());
    }
  }

  /** The message that is awaited now. */
  #expected(): Message['kind'] | undefined {
    if (this.phase === 'listening') return 'hello';
    if (this.phase === 'ready') return 'protected';
    if (this.phase === 'taking-over') return 'handover-done';
    switch (this.step) {
      case 'waiting':
        // The first checkpoint comes unasked.
        return this.phase === 'seeding' ? 'vmstate-send' : 'checkpoint-request';
      case 'replied':
        return 'vmstate-send';
      case 'staging':
        return this.#announced ? undefined : 'vmstate-size';
      default:
        return undefined;
    }
  }

  #announced = false;

  // The checkpoint (spec A.2)

  #checkpointMessage(
    message: Extract<Message, { kind: 'checkpoint-request' | 'vmstate-send' | 'vmstate-size' }>,
  ): void {
    if (message.kind !== this.#expected()) throw outOfOrder(message.kind, this.#expected());
    const { epoch } = this.#staging;
    if (!this.#rules.admits(message.epoch, epoch)) {
      throw new ProtocolError('wrong-epoch', `the peer sent ${message.kind} of epoch ${message.epoch}, not ${epoch}`);
    }
    this.#setTimer('step', this.#now + this.#settings.stepMs);
    switch (message.kind) {
      case 'checkpoint-request':
        this.#pauseGuest(); // in buffered mode it does not run
        this.#step.move('replied');
        // P's stop is next, which takes as long as P's disks do: that P is well, its heartbeats say.
        this.#setTimer('step', never);
        this.#send({ kind: 'checkpoint-reply', epoch: message.epoch });
        return;
      case 'vmstate-send':
        if (message.comparing > 1 || (message.comparing === 1 && !this.#settings.compares)) {
          throw new ProtocolError(
            'invalid-message',
            `invalid message: vmstate-send: mode ${message.comparing}, which this standby does not know`,
          );
        }
        this.#step.move('staging');
        this.#comparesNext = message.comparing === 1;
        this.#announced = false;
        this.#stagedAt = this.#now;
        return;
      case 'vmstate-size':
        this.#announced = true;
        this.#staging.announce(message.value);
        this.#gathered();
        return;
    }
  }

  #item(item: EpochItem): void {
    const isRam = item.kind === 'pages' || item.kind === 'pages-end' || item.kind === 'vmstate';
    if (isRam && (this.step === 'loading' || this.step === 'committing' || this.step === 'starting')) {
      throw new ProtocolError('out-of-order', `the peer sent ${item.kind} while a checkpoint is loaded`);
    }
    this.#staging.take(item);
    // What comes for a guest that is stopped, or of an epoch that it is not in yet, waits.
    if (item.kind === 'input' && this.#guest === 'running' && item.epoch === this.#loaded + 1) {
      this.#do({ kind: 'let-in', item });
    } else this.#do({ kind: 'stage', item });
    if (this.step === 'staging') this.#setTimer('step', this.#now + this.#settings.stepMs);
    else this.#copyMoved();
    if (item.kind === 'disk-end' && this.#rules.commitsDisk === 'when-its-stream-ends') {
      this.#do({ kind: 'commit-disk', epoch: item.epoch });
    }
    this.#gathered();
  }

  /** Something of the first copy came: the next may take as long. */
  #copyMoved(): void {
    if (this.phase === 'seeding' && this.step === 'waiting') {
      this.#setTimer('step', this.#now + this.#settings.stepMs);
    }
  }

  /** Is the checkpoint whole? Then it is this side's, whatever happens. */
  #gathered(): void {
    if (this.step !== 'staging' || !this.#announced || !this.#staging.isWhole) return;
    const { epoch } = this.#staging;
    this.#step.move('loading');
    this.#setTimer('step', never);
    this.#received = epoch;
    this.#receivedAt = this.#stagedAt;
    this.#compares = this.#comparesNext;
    this.#guest = 'none';
    this.#staging.next();
    if (this.phase === 'protecting') this.#send({ kind: 'vmstate-received', epoch });
    this.#do({ kind: 'load', epoch });
  }

  #ramLoaded(epoch: Epoch): void {
    if (this.step !== 'loading' || epoch !== this.#received) return;
    this.#step.move('committing');
    this.#do({ kind: 'commit-disk', epoch });
  }

  #diskCommitted(epoch: Epoch): void {
    if (this.step !== 'committing' || epoch !== this.#received) return;
    if (this.#compares && (this.phase === 'seeding' || this.phase === 'protecting')) {
      this.#step.move('starting');
      this.#do({ kind: 'start', epoch, stoppedAt: this.#receivedAt });
      return;
    }
    this.#standsAt(epoch);
  }

  /** Comparing: the guest runs from this checkpoint, its output held. */
  #started(epoch: Epoch): void {
    if (this.step !== 'starting' || epoch !== this.#received) return;
    this.#guest = 'running';
    this.#do({ kind: 'let-in-kept', epoch: next(epoch) });
    this.#standsAt(epoch);
  }

  #standsAt(epoch: Epoch): void {
    this.#step.move('waiting');
    this.#loaded = epoch;
    if (this.phase === 'seeding') {
      this.#phase.move('ready');
      this.#send({ kind: 'checkpoint-ready', epoch });
      this.#setTimer('step', this.#now + this.#settings.stepMs);
    } else if (this.phase === 'protecting') {
      this.#send({ kind: 'vmstate-loaded', epoch });
    } else if (this.#failover.state === 'relaunch') {
      this.#failover.swap('relaunch', 'none');
      this.#failover.swap('none', 'require');
      this.#tryToGoLive();
    }
  }

  // Comparing (spec B.2, B.8)

  /** What is confirmed of an epoch that is over has been forgotten with it. */
  #confirmed({ kind, epoch, items }: OutputConfirmed): void {
    this.#staging.take({ kind, epoch, items });
    if (this.#guest === 'none' || epoch !== this.#loaded + 1) return;
    this.#do({ kind: 'forget-own', epoch, items });
  }

  #pauseGuest(): void {
    if (this.#guest !== 'running') return;
    this.#guest = 'paused';
    this.#do({ kind: 'pause-guest' });
  }

  /** It never runs again here. */
  #endGuest(): void {
    if (this.#guest === 'running' || this.step === 'starting') this.#do({ kind: 'pause-guest' });
    this.#guest = 'none';
  }

  // Signs of life and consent (spec B.5, B.6)

  #beat(): void {
    this.#send({ kind: 'heartbeat', clock: this.#now, echo: Number.NaN, laidBytes: this.#laidBytes });
    this.#setTimer('heartbeat', this.#heartbeat.nextAt(this.#now, this.phase === 'seeding'));
  }

  /** P's clock goes back to it: with that, P may release for a while. */
  #answer({ clock }: HeartbeatMessage): void {
    this.#heartbeat.heard(this.#now);
    if (this.phase === 'leaving' || !this.#rules.mayVouch(this.#turned)) return;
    this.#consent.answered(this.#now);
    this.#send({ kind: 'heartbeat', clock: this.#now, echo: clock, laidBytes: this.#laidBytes });
  }

  #timer(timer: TimerName, turned: boolean): void {
    switch (timer) {
      case 'heartbeat':
        this.#turned = turned;
        if (!hasPeer(this.phase)) return;
        if (this.#heartbeat.isSilent(this.#now, this.phase === 'seeding')) {
          this.#lose(`silent for ${this.#heartbeat.limitMs(this.phase === 'seeding')} ms`, 'network');
          return;
        }
        if (this.#rules.mayVouch(turned)) {
          this.#beat();
          return;
        }
        this.#setTimer('heartbeat', this.#heartbeat.nextAt(this.#now, this.phase === 'seeding'));
        return;
      case 'step':
        if (this.phase === 'leaving') {
          this.#left();
          return;
        }
        this.#overdue();
        return;
      case 'consent':
        this.#tryToGoLive();
        return;
      case 'ask':
        if (this.phase === 'taking-over') this.#writeNextTerm();
        else this.#claim.again(this.#now, this.#effects);
        return;
      case 'checkpoint':
      case 'disk-log':
        return;
      default:
        timer satisfies never;
    }
  }

  // P hands the guest over, in order (primary.ts has it drawn)

  #handover(epoch: Epoch): void {
    if (this.phase === 'leaving') return; // P reads soon that nobody is here to take it
    if (this.phase !== 'protecting' || this.step !== 'waiting') throw outOfOrder('handover', this.#expected());
    this.#checkHandover('handover', epoch);
    this.#phase.move('taking-over');
    this.#setTimer('step', this.#now + this.#settings.stepMs);
    this.#writeNextTerm();
    if (this.#rules.mayTakeOffered(false)) this.#takeOver();
  }

  #writeNextTerm(): void {
    this.#do({ kind: 'write-term', term: next(this.#term) });
    this.#setTimer('ask', this.#now + this.#settings.askAgainMs);
  }

  #handoverReady(term: Term): void {
    if (term !== next(this.#term)) return;
    this.#setTimer('ask', never);
    this.#send({ kind: 'handover-ready', epoch: this.#loaded });
  }

  #handoverDone(epoch: Epoch): void {
    if (this.phase !== 'taking-over') throw outOfOrder('handover-done', this.#expected());
    this.#checkHandover('handover-done', epoch);
    this.#takeOver();
  }

  #checkHandover(kind: Message['kind'], epoch: Epoch): void {
    if (epoch === this.#loaded && epoch === this.#received) return;
    throw new ProtocolError('wrong-epoch', `the peer sent ${kind} of epoch ${epoch}, not ${this.#loaded}`);
  }

  /** Nobody is asked: P has given the guest away. */
  #takeOver(): void {
    this.#disconnect();
    this.#failover.swap('none', 'require');
    this.#failover.swap('require', 'active');
    this.#live(this.#loaded, next(this.#term), 'switched-over');
  }

  /** P beats, and does not do what it is its turn to do. */
  #overdue(): void {
    const { stepMs } = this.#settings;
    const isCopying = this.phase === 'seeding' && this.step === 'waiting';
    const reason = isCopying
      ? `nothing of the first copy came for ${stepMs} ms`
      : `no ${this.#expected() ?? 'end of the checkpoint'} within ${stepMs} ms`;
    if (this.phase === 'seeding' || this.phase === 'ready') this.#send({ kind: 'refusal', reason });
    this.#lose(reason, 'network');
  }

  // P is lost: take over (spec A.4, B.6)

  #lose(
    why: string,
    by: 'peer' | 'network',
    operator: { readonly byOperator: boolean; readonly sure: boolean } = { byOperator: false, sure: false },
  ): void {
    switch (this.phase) {
      case 'listening':
      case 'live':
      case 'refused':
      case 'failed':
      case 'ended':
        return;
      case 'claiming':
        // It was only silent, and now its kernel says that it is gone.
        this.#consent.closed(by);
        this.#tryToGoLive();
        return;
      case 'leaving':
        this.#left();
        return;
      case 'greeting':
      case 'seeding':
      case 'ready':
      case 'protecting':
      case 'taking-over':
        break;
      default:
        this.phase satisfies never;
    }
    const confirmed = this.phase === 'protecting' || this.phase === 'taking-over';
    if (!this.#rules.mayTakeOver(confirmed, this.#received > noCheckpoint)) {
      this.#backToListening(why, true);
      return;
    }
    this.#tell({ kind: 'peer-lost', why });
    this.#consent.closed(by);
    this.#phase.move('claiming');
    this.#failover.swap('none', 'require');
    this.#disconnect();
    this.#claim.start(this.#term, operator.byOperator, operator.sure, this.#now, this.#effects);
    this.#tryToGoLive();
  }

  #tryToGoLive(): void {
    if (this.phase !== 'claiming') return;
    if (this.#claim.state === 'refused') {
      this.#refused();
      return;
    }
    if (this.#failover.state !== 'require') return;
    const fenced = this.#consent.isOver(this.#now);
    if (!fenced) this.#setTimer('consent', this.#consent.askAt(this.#now));
    if (!this.#rules.mayGoLive(this.#claim.holds, fenced)) return;
    this.#failover.swap('require', 'active');
    const standsAt = this.#rules.standsAt(this.#loaded, this.#received);
    if (standsAt > this.#loaded && this.#rules.finishesLoadFirst) {
      this.#failover.swap('active', 'relaunch');
      return;
    }
    const term = this.#claim.holds ? this.#claim.term : this.#term;
    this.#claim.used();
    this.#live(standsAt, term, 'survivor');
  }

  /**
   * Spec A.4, B.12, B.15: state, clock, kept output out, kept input in, guest on. A guest that runs already (comparing) goes on
   * where it is: what it said is out before anything new, and what it has not been given yet comes first.
   */
  #live(standsAt: Epoch, term: Term, how: 'survivor' | 'switched-over'): void {
    this.#term = term;
    this.#do({ kind: 'discard', beyond: standsAt });
    if (this.#guest === 'none' || !this.#rules.goesOnRunning) {
      this.#do(
        { kind: 'revive', epoch: standsAt, stoppedAt: this.#receivedAt },
        { kind: 'open' },
        { kind: 'announce' },
        { kind: 'send-kept', epoch: standsAt },
      );
    } else {
      this.#do({ kind: 'hold-guest' }, { kind: 'announce' }, { kind: 'send-kept', epoch: standsAt }, { kind: 'open' });
    }
    this.#do({ kind: 'replay-input', epoch: standsAt }, { kind: 'resume-guest' });
    this.#setTimer('consent', never);
    this.#phase.move('live');
    this.#failover.swap('active', 'completed');
    this.#tell({ kind: how, role: 'secondary', term });
    this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'took over' });
  }

  #refused(): void {
    this.#phase.move('refused');
    this.#failover.swap('require', 'none');
    this.#setTimer('consent', never);
    this.#endGuest();
    this.#do({ kind: 'shut' }, { kind: 'discard', beyond: noCheckpoint });
    this.#tell({ kind: 'fenced', why: 'the arbiter gave the next term to the primary' });
    this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: 'the primary went on alone' });
  }

  // The end, in order

  /** This side gives up its right to take over, and then says so. */
  #leave(reason: EndReason): void {
    this.#phase.move('leaving');
    this.#send({ kind: 'end', reason, exitCode: 0 });
    this.#setTimer('step', this.#now + this.#settings.stepMs);
  }

  #left(): void {
    if (this.#diskError === undefined) {
      this.#tellOrderlyEnd();
      this.#backToListening('ended in order', true);
      return;
    }
    this.#disconnect();
    this.#endGuest();
    this.#phase.move('failed');
  }

  #peerEnds(reason: EndReason, exitCode: number): void {
    this.#send({ kind: 'ended' });
    if (reason === 'power-off') {
      this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'the guest has ended' });
      this.#exit(exitCode);
      return;
    }
    if (this.phase === 'leaving') {
      this.#left();
      return;
    }
    this.#tellOrderlyEnd();
    this.#backToListening(`the primary ended it: ${reason}`, false);
  }

  #tellOrderlyEnd(): void {
    if (!this.#protects) return;
    this.#protects = false;
    this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'ended in order' });
  }

  #backToListening(why: string, close: boolean): void {
    if (close) this.#disconnect();
    else this.#quiet();
    this.#endGuest();
    this.#do({ kind: 'discard', beyond: noCheckpoint });
    this.#phase.move('listening');
    this.#received = noCheckpoint;
    this.#loaded = noCheckpoint;
    this.#tell({ kind: 'not-protected', why });
  }

  #diskFailed(error: string): void {
    if (!this.#rules.diskErrorEnds) return;
    this.#diskError ??= error;
    switch (this.phase) {
      case 'seeding':
      case 'ready':
        // P does not count on it yet, and can say why it never will.
        this.#send({ kind: 'refusal', reason: `its disk failed: ${error}` });
        this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: `its disk failed: ${error}` });
        this.#leave('error');
        return;
      case 'protecting':
        this.#protects = false;
        this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: `its disk failed: ${error}` });
        this.#leave('error');
        return;
      case 'listening':
      case 'greeting':
      case 'taking-over':
      case 'claiming':
        this.#fail(`its disk failed: ${error}`);
        return;
      case 'leaving':
      case 'live':
      case 'refused':
      case 'failed':
      case 'ended':
        return;
      default:
        this.phase satisfies never;
    }
  }

  /** This side cannot take over any more. */
  #fail(why: string): void {
    if (this.phase === 'live' || this.phase === 'ended' || this.phase === 'refused' || this.phase === 'failed') return;
    this.#disconnect();
    this.#endGuest();
    this.#setTimer('consent', never);
    this.#setTimer('ask', never);
    this.#phase.move('failed');
    this.#tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
  }

  #exit(exitCode: number): void {
    this.#quiet();
    this.#phase.move('ended');
    this.#do({ kind: 'exit', exitCode });
  }

  #disconnect(): void {
    this.#do({ kind: 'close' });
    this.#quiet();
  }

  #quiet(): void {
    this.#setTimer('heartbeat', never);
    this.#setTimer('step', never);
  }

  // Effects

  #do(...effects: readonly Effect[]): void {
    this.#effects.push(...effects);
  }

  #send(message: Message): void {
    this.#effects.push({ kind: 'send', message, term: this.#term });
  }

  #setTimer(timer: TimerName, at: number): void {
    this.#effects.push({ kind: 'timer', timer, at });
  }

  #tell(notice: Notice): void {
    this.#effects.push({ kind: 'tell', notice });
  }
}

/** There is somebody at the other end who may say something. */
function hasPeer(phase: SecondaryPhase): boolean {
  switch (phase) {
    case 'greeting':
    case 'seeding':
    case 'ready':
    case 'protecting':
    case 'taking-over':
    case 'leaving':
      return true;
    default:
      return false;
  }
}
