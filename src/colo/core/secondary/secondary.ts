import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import {
  type EndReason,
  type Heartbeat as HeartbeatMessage,
  type Hello,
  type Message,
  protocolVersion,
  wantedFor,
} from '../../protocol/messages.ts';
import { type Epoch, next, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { refusals } from '../commands.ts';
import type { Command, Effect, SecondaryEvent, TimerName } from '../events.ts';
import { Claim } from '../fencing/claim.ts';
import { ConsentGiven } from '../fencing/consent.ts';
import { newFailover } from '../fencing/failover.ts';
import { Heartbeat } from '../fencing/heartbeat.ts';
import { StateMachine } from '../moves.ts';
import { differences, disagreements } from '../pairing.ts';
import { type Rules, specification } from '../rules.ts';
import type { Settings } from '../settings.ts';
import { Turn } from '../turn.ts';
import { Gathering } from './gathering.ts';
import { hasPeer, type SecondaryPhase, type SecondaryStep, secondaryMoves } from './secondary-phase.ts';

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
  readonly #turn: Turn;
  readonly #phase = new StateMachine<SecondaryPhase>('secondary', secondaryMoves, 'listening');
  readonly #failover = newFailover();
  readonly #gathering: Gathering;
  readonly #heartbeat: Heartbeat;
  #consent: ConsentGiven;
  #claim: Claim;
  /** The term of a primary that waits for its welcome. */
  #greeted: Term | undefined;
  #laidBytes = 0;
  /** P counts on it, and nobody was told that this is over. */
  #protects = false;
  #diskError: string | undefined;
  #turned = true;

  constructor(options: SecondaryOptions) {
    const { settings, term, rules = specification } = options;
    this.#options = options;
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = new Turn(term);
    const phase = this.#phase;
    this.#gathering = new Gathering(settings, rules, this.#turn, {
      get phase() {
        return phase.state;
      },
      standsAt: (epoch) => this.#standsAt(epoch),
    });
    this.#heartbeat = new Heartbeat(rules, settings);
    this.#consent = new ConsentGiven(rules, settings);
    this.#claim = new Claim(term, rules, settings);
  }

  get phase(): SecondaryPhase {
    return this.#phase.state;
  }

  get step(): SecondaryStep {
    return this.#gathering.step;
  }

  get term(): Term {
    return this.#turn.term;
  }

  /** The last checkpoint of which this side said that it has it. */
  get received(): Epoch {
    return this.#gathering.received;
  }

  /** Whether its guest runs, and is compared. */
  get guest(): 'none' | 'running' | 'paused' {
    return this.#gathering.guest;
  }

  /** Takes an event; what is to be done about it, in order. */
  handle(event: SecondaryEvent, now: number): readonly Effect[] {
    this.#turn.begin(now);
    try {
      this.#handle(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message, 'network');
    }
    return this.#turn.effects;
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
        this.#gathering.ramLoaded(event.epoch);
        return;
      case 'copy-moved':
        this.#gathering.copyMoved();
        return;
      case 'load-failed':
        this.#fail(`checkpoint ${event.epoch} cannot be loaded: ${event.reason}`);
        return;
      case 'disk-committed':
        this.#gathering.diskCommitted(event.epoch);
        return;
      case 'started':
        this.#gathering.started(event.epoch);
        return;
      case 'own-room-half':
        if (this.#gathering.guest === 'running' && this.phase === 'protecting') {
          this.#turn.send({ kind: 'checkpoint-wanted', why: wantedFor[event.of] });
        }
        return;
      case 'disk-laid':
        this.#laidBytes = event.bytes;
        this.#gathering.copyMoved();
        return;
      case 'disk-log-half':
        if (this.phase === 'protecting') this.#turn.send({ kind: 'checkpoint-wanted', why: wantedFor.diskLog });
        return;
      case 'disk-failed':
        this.#diskFailed(event.error);
        return;
      case 'arbiter':
        this.#claim.answered(event.term, event.answer, this.#turn.now, this.#turn.effects);
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
        else if (this.#gathering.guest === 'running' && this.phase === 'protecting') {
          this.#turn.send({ kind: 'checkpoint-wanted', why: wantedFor.guest });
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
      this.#claim.operatorSays(sure, this.#turn.now, this.#turn.effects);
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
    this.#turn.do({ kind: 'refuse', command: command.name, error });
  }

  // Pairing (spec A.2.1, B.14)

  #hello(hello: Hello, term: Term): void {
    if (this.phase !== 'listening') throw outOfOrder(hello.kind, this.#expected);
    const refusal = this.refusal(hello, term);
    if (refusal !== undefined) {
      this.#turn.send({ kind: 'refusal', reason: refusal });
      this.#turn.do({ kind: 'close' });
      return;
    }
    this.#phase.move('greeting');
    this.#greeted = term;
    if (term === this.#turn.term) this.#welcome();
    else {
      this.#turn.do({ kind: 'write-term', term });
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
    if (term < this.#turn.term) return `its pair is in term ${this.#turn.term} already, that machine in term ${term}`;
    const found = [...disagreements(hello, this.#settings), ...differences(shape, own.shape)];
    return found.length === 0 ? undefined : found.join('; ');
  }

  #termWritten(term: Term): void {
    if (this.phase === 'greeting' && term === this.#greeted) {
      this.#turn.term = term;
      this.#welcome();
      return;
    }
    if (this.phase === 'taking-over') {
      this.#handoverReady(term);
      return;
    }
    this.#claim.termWritten(term, this.#turn.effects);
    this.#tryToGoLive();
  }

  #welcome(): void {
    this.#phase.move('seeding');
    this.#consent = new ConsentGiven(this.#rules, this.#settings);
    this.#claim = new Claim(this.#turn.term, this.#rules, this.#settings);
    this.#laidBytes = 0;
    this.#protects = false;
    this.#gathering.begin();
    this.#turn.do({ kind: 'attach' });
    this.#turn.send({ kind: 'welcome', shape: this.#options.shape });
    this.#gathering.copyMoved();
    this.#heartbeat.start(this.#turn.now);
    this.#beat();
  }

  // Frames

  #frame({ term, message }: Frame): void {
    if (message.kind === 'hello') {
      this.#hello(message, term);
      return;
    }
    if (!hasPeer(this.phase)) return; // what came before the peer heard that this is over
    if (!this.#rules.acceptsTerm(term, this.#turn.term)) {
      throw new ProtocolError('wrong-term', `the peer sent ${message.kind} of term ${term} in term ${this.#turn.term}`);
    }
    switch (message.kind) {
      case 'protected':
        if (this.phase !== 'ready') throw outOfOrder(message.kind, this.#expected);
        this.#phase.move('protecting');
        this.#protects = true;
        this.#turn.stopTimer('step');
        this.#turn.tell({ kind: 'protected', term: this.#turn.term });
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
        if (this.phase !== 'leaving') throw outOfOrder(message.kind, this.#expected);
        this.#left();
        return;
      case 'checkpoint-request':
      case 'vmstate-send':
      case 'vmstate-size':
        this.#gathering.message(message);
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
        this.#gathering.item(message);
        return;
      case 'output-confirmed':
        this.#gathering.confirmed(message);
        return;
      default:
        throw outOfOrder(message.kind, this.#expected);
    }
  }

  /** The message that is awaited now. */
  get #expected(): Message['kind'] | undefined {
    if (this.phase === 'listening') return 'hello';
    if (this.phase === 'ready') return 'protected';
    if (this.phase === 'taking-over') return 'handover-done';
    return this.#gathering.expected;
  }

  #standsAt(epoch: Epoch): void {
    if (this.phase === 'seeding') {
      this.#phase.move('ready');
      this.#turn.send({ kind: 'checkpoint-ready', epoch });
      this.#turn.startTimer('step', this.#settings.stepMs);
    } else if (this.phase === 'protecting') {
      this.#turn.send({ kind: 'vmstate-loaded', epoch });
    } else if (this.#failover.state === 'relaunch') {
      this.#failover.swap('relaunch', 'none');
      this.#failover.swap('none', 'require');
      this.#tryToGoLive();
    }
  }

  // Signs of life and consent (spec B.5, B.6)

  #beat(): void {
    this.#turn.send({ kind: 'heartbeat', clock: this.#turn.now, echo: Number.NaN, laidBytes: this.#laidBytes });
    this.#turn.setTimer('heartbeat', this.#heartbeat.nextAt(this.#turn.now, this.phase === 'seeding'));
  }

  /** P's clock goes back to it: with that, P may release for a while. */
  #answer({ clock }: HeartbeatMessage): void {
    this.#heartbeat.heard(this.#turn.now);
    if (this.phase === 'leaving' || !this.#rules.mayVouch(this.#turned)) return;
    this.#consent.answered(this.#turn.now);
    this.#turn.send({ kind: 'heartbeat', clock: this.#turn.now, echo: clock, laidBytes: this.#laidBytes });
  }

  #timer(timer: TimerName, turned: boolean): void {
    switch (timer) {
      case 'heartbeat':
        this.#turned = turned;
        if (!hasPeer(this.phase)) return;
        if (this.#heartbeat.isSilent(this.#turn.now, this.phase === 'seeding')) {
          this.#lose(`silent for ${this.#heartbeat.limitMs(this.phase === 'seeding')} ms`, 'network');
          return;
        }
        if (this.#rules.mayVouch(turned)) {
          this.#beat();
          return;
        }
        this.#turn.setTimer('heartbeat', this.#heartbeat.nextAt(this.#turn.now, this.phase === 'seeding'));
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
        else this.#claim.again(this.#turn.now, this.#turn.effects);
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
    if (this.phase !== 'protecting' || this.step !== 'waiting') throw outOfOrder('handover', this.#expected);
    this.#checkHandover('handover', epoch);
    this.#phase.move('taking-over');
    this.#turn.startTimer('step', this.#settings.stepMs);
    this.#writeNextTerm();
    if (this.#rules.mayTakeOffered(false)) this.#takeOver();
  }

  #writeNextTerm(): void {
    this.#turn.do({ kind: 'write-term', term: next(this.#turn.term) });
    this.#turn.startTimer('ask', this.#settings.askAgainMs);
  }

  #handoverReady(term: Term): void {
    if (term !== next(this.#turn.term)) return;
    this.#turn.stopTimer('ask');
    this.#turn.send({ kind: 'handover-ready', epoch: this.#gathering.loaded });
  }

  #handoverDone(epoch: Epoch): void {
    if (this.phase !== 'taking-over') throw outOfOrder('handover-done', this.#expected);
    this.#checkHandover('handover-done', epoch);
    this.#takeOver();
  }

  #checkHandover(kind: Message['kind'], epoch: Epoch): void {
    if (epoch === this.#gathering.loaded && epoch === this.#gathering.received) return;
    throw new ProtocolError('wrong-epoch', `the peer sent ${kind} of epoch ${epoch}, not ${this.#gathering.loaded}`);
  }

  /** Nobody is asked: P has given the guest away. */
  #takeOver(): void {
    this.#disconnect();
    this.#failover.swap('none', 'require');
    this.#failover.swap('require', 'active');
    this.#live(this.#gathering.loaded, next(this.#turn.term), 'switched-over');
  }

  /** P beats, and does not do what it is its turn to do. */
  #overdue(): void {
    const { stepMs } = this.#settings;
    const reason = this.#gathering.isCopying
      ? `nothing of the first copy came for ${stepMs} ms`
      : `no ${this.#expected ?? 'end of the checkpoint'} within ${stepMs} ms`;
    if (this.phase === 'seeding' || this.phase === 'ready') this.#turn.send({ kind: 'refusal', reason });
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
    if (!this.#rules.mayTakeOver(confirmed, this.#gathering.received > noCheckpoint)) {
      this.#backToListening(why, true);
      return;
    }
    this.#turn.tell({ kind: 'peer-lost', why });
    this.#consent.closed(by);
    this.#phase.move('claiming');
    this.#failover.swap('none', 'require');
    this.#disconnect();
    this.#claim.start(this.#turn.term, operator.byOperator, operator.sure, this.#turn.now, this.#turn.effects);
    this.#tryToGoLive();
  }

  #tryToGoLive(): void {
    if (this.phase !== 'claiming') return;
    if (this.#claim.state === 'refused') {
      this.#refused();
      return;
    }
    if (this.#failover.state !== 'require') return;
    const fenced = this.#consent.isOver(this.#turn.now);
    if (!fenced) this.#turn.setTimer('consent', this.#consent.askAt(this.#turn.now));
    if (!this.#rules.mayGoLive(this.#claim.holds, fenced)) return;
    this.#failover.swap('require', 'active');
    const standsAt = this.#rules.standsAt(this.#gathering.loaded, this.#gathering.received);
    if (standsAt > this.#gathering.loaded && this.#rules.finishesLoadFirst) {
      this.#failover.swap('active', 'relaunch');
      return;
    }
    const term = this.#claim.holds ? this.#claim.term : this.#turn.term;
    this.#claim.used();
    this.#live(standsAt, term, 'survivor');
  }

  /**
   * Spec A.4, B.12, B.15: state, clock, kept output out, kept input in, guest on. A guest that runs already (comparing) goes on
   * where it is: what it said is out before anything new, and what it has not been given yet comes first.
   */
  #live(standsAt: Epoch, term: Term, how: 'survivor' | 'switched-over'): void {
    this.#turn.term = term;
    this.#turn.do({ kind: 'discard', beyond: standsAt });
    if (this.#gathering.guest === 'none' || !this.#rules.goesOnRunning) {
      this.#turn.do(
        { kind: 'revive', epoch: standsAt, stoppedAt: this.#gathering.receivedAt },
        { kind: 'open' },
        { kind: 'announce' },
        { kind: 'send-kept', epoch: standsAt },
      );
    } else {
      this.#turn.do(
        { kind: 'hold-guest' },
        { kind: 'announce' },
        { kind: 'send-kept', epoch: standsAt },
        { kind: 'open' },
      );
    }
    this.#turn.do({ kind: 'replay-input', epoch: standsAt }, { kind: 'resume-guest' });
    this.#turn.stopTimer('consent');
    this.#phase.move('live');
    this.#failover.swap('active', 'completed');
    this.#turn.tell({ kind: how, role: 'secondary', term });
    this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'took over' });
  }

  #refused(): void {
    this.#phase.move('refused');
    this.#failover.swap('require', 'none');
    this.#turn.stopTimer('consent');
    this.#gathering.endGuest();
    this.#turn.do({ kind: 'shut' }, { kind: 'discard', beyond: noCheckpoint });
    this.#turn.tell({ kind: 'fenced', why: 'the arbiter gave the next term to the primary' });
    this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: 'the primary went on alone' });
  }

  // The end, in order

  /** This side gives up its right to take over, and then says so. */
  #leave(reason: EndReason): void {
    this.#phase.move('leaving');
    this.#turn.send({ kind: 'end', reason, exitCode: 0 });
    this.#turn.startTimer('step', this.#settings.stepMs);
  }

  #left(): void {
    if (this.#diskError === undefined) {
      this.#tellOrderlyEnd();
      this.#backToListening('ended in order', true);
      return;
    }
    this.#disconnect();
    this.#gathering.endGuest();
    this.#phase.move('failed');
  }

  #peerEnds(reason: EndReason, exitCode: number): void {
    this.#turn.send({ kind: 'ended' });
    if (reason === 'power-off') {
      this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'the guest has ended' });
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
    this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'ended in order' });
  }

  #backToListening(why: string, close: boolean): void {
    if (close) this.#disconnect();
    else this.#quiet();
    this.#gathering.endGuest();
    this.#turn.do({ kind: 'discard', beyond: noCheckpoint });
    this.#phase.move('listening');
    this.#gathering.forget();
    this.#turn.tell({ kind: 'not-protected', why });
  }

  #diskFailed(error: string): void {
    if (!this.#rules.diskErrorEnds) return;
    this.#diskError ??= error;
    switch (this.phase) {
      case 'seeding':
      case 'ready':
        // P does not count on it yet, and can say why it never will.
        this.#turn.send({ kind: 'refusal', reason: `its disk failed: ${error}` });
        this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: `its disk failed: ${error}` });
        this.#leave('error');
        return;
      case 'protecting':
        this.#protects = false;
        this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: `its disk failed: ${error}` });
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
    this.#gathering.endGuest();
    this.#turn.stopTimer('consent');
    this.#turn.stopTimer('ask');
    this.#phase.move('failed');
    this.#turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
  }

  #exit(exitCode: number): void {
    this.#quiet();
    this.#phase.move('ended');
    this.#turn.do({ kind: 'exit', exitCode });
  }

  #disconnect(): void {
    this.#turn.do({ kind: 'close' });
    this.#quiet();
  }

  #quiet(): void {
    this.#turn.stopTimer('heartbeat');
    this.#turn.stopTimer('step');
  }
}
