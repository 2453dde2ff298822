import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import { type Hello, type Message, type OtherHello, type TakeOver, wantedFor } from '../../protocol/messages.ts';
import { type Epoch, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { Command, Effect, SecondaryEvent, TimerName } from '../events.ts';
import { StateMachine } from '../moves.ts';
import { whyNoPair } from '../pairing.ts';
import { type Rules, specification } from '../rules.ts';
import type { Settings } from '../settings.ts';
import { Turn } from '../turn.ts';
import { Gathering } from './gathering.ts';
import { Handover } from './handover.ts';
import { whyRefused } from './refused-commands.ts';
import { hasPeer, type SecondaryPhase, type SecondaryStep, secondaryMoves } from './secondary-phase.ts';
import { StandbyEnd } from './standby-end.ts';
import type { StandbyParts } from './standing-by.ts';
import { type OperatorWord, Takeover } from './takeover.ts';
import { Vouching } from './vouching.ts';

/** What a secondary is made of. */
export interface SecondaryOptions {
  readonly pair: string;
  /** What this machine could be, until it is said anew. */
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
  /** What this machine could be, for whoever says hello next. */
  shape: MachineShape;
  readonly #options: SecondaryOptions;
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  readonly #phase = new StateMachine<SecondaryPhase>('secondary', secondaryMoves, 'listening');
  readonly #gathering: Gathering;
  readonly #vouching: Vouching;
  readonly #takeover: Takeover;
  readonly #handover: Handover;
  readonly #end: StandbyEnd;
  /** The term of a primary that waits for its welcome. */
  #greeted: Term | undefined;

  constructor(options: SecondaryOptions) {
    const { settings, term, rules = specification } = options;
    this.#options = options;
    this.shape = options.shape;
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
    const parts: StandbyParts = { rules, settings, turn: this.#turn, phase, gathering: this.#gathering };
    this.#vouching = new Vouching(parts);
    this.#takeover = new Takeover(parts);
    this.#handover = new Handover(parts, this.#takeover);
    this.#end = new StandbyEnd(parts);
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

  /** Whether it would go on in that term if the arbiter gave it that, or does already. */
  wantsTerm(term: Term): boolean {
    return this.phase === 'claiming' || term === this.#turn.term;
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
      case 'peer-prepares':
        this.#gathering.peerPrepares(event.isOver);
        return;
      case 'load-failed':
        this.#end.fail(`checkpoint ${event.epoch} cannot be loaded: ${event.reason}`);
        return;
      case 'disk-committed':
        this.#gathering.diskCommitted(event.epoch);
        return;
      case 'started':
        this.#gathering.started(event.epoch);
        return;
      case 'guest-paused':
        this.#handover.guestPaused();
        return;
      case 'guest-runs':
        if (this.phase === 'going-live') this.#takeover.runs();
        return;
      case 'own-room-half':
        if (this.#gathering.guest === 'running' && this.phase === 'protecting') {
          this.#turn.send({ kind: 'checkpoint-wanted', why: wantedFor[event.of] });
        }
        return;
      case 'disk-laid':
        this.#vouching.laid(event.bytes);
        this.#gathering.copyMoved();
        return;
      case 'disk-log-half':
        if (this.phase === 'protecting') this.#turn.send({ kind: 'checkpoint-wanted', why: wantedFor.diskLog });
        return;
      case 'disk-failed':
        this.#end.diskFailed(event.error);
        return;
      case 'arbiter':
        this.#takeover.answered(event.term, event.answer);
        return;
      case 'primary-called':
        if (event.pair === this.#options.pair) this.#takeover.called(event.term);
        return;
      case 'term-written':
        this.#termWritten(event.term);
        return;
      case 'term-failed':
        if (this.phase === 'greeting') this.#end.backToListening('the term cannot be written', true);
        return; // in a claim, and when the guest is handed over, the alarm tries again
      case 'guest-ended':
        // Of a checkpoint's guest it may be known before it runs again.
        if (this.phase === 'going-live') this.#takeover.runs();
        if (this.phase === 'live') this.#end.exit(event.exitCode);
        else {
          this.#handover.guestEnded();
          this.#gathering.guestEnded();
        }
        return;
      default:
        event satisfies never;
    }
  }

  // Commands

  #command(command: Command): void {
    const isLost = command.name === 'failover' || command.name === 'lost-heartbeat';
    if (isLost && this.#takeover.isAsking) {
      this.#takeover.operatorSays(command.sure);
      return;
    }
    const error = whyRefused(command.name, this.phase, this.#takeover.failover);
    if (error !== undefined) this.#turn.do({ kind: 'refuse', command: command.name, error });
    else if (isLost) {
      this.#lose('an operator says that it is lost', 'network', { byOperator: true, sure: command.sure });
      // Asked twice to end it, it is ended once.
    } else if (command.name === 'unprotect' && this.phase !== 'leaving') {
      this.#end.leave(command.stops === true ? 'stopped' : 'unprotect');
    }
  }

  // Pairing (spec A.2.1, B.14)

  #hello(hello: Hello | OtherHello, term: Term): void {
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
      this.#turn.do({ kind: 'write-term', term, theirs: true });
      if (this.#rules.mayWelcome(false)) this.#termWritten(term);
    }
  }

  /** Why this standby will not have that primary, which greets it in that term; undefined if it will. Changes nothing. */
  refusal(hello: Hello | OtherHello, term: Term): string | undefined {
    return whyNoPair(hello, term, { ...this.#options, shape: this.shape, term: this.#turn.term });
  }

  #termWritten(term: Term): void {
    if (this.phase === 'greeting' && term === this.#greeted) {
      this.#turn.term = term;
      this.#welcome();
      return;
    }
    if (this.phase === 'taking-over') {
      this.#handover.termWritten(term);
      return;
    }
    this.#takeover.termWritten(term);
  }

  #welcome(): void {
    this.#phase.move('seeding');
    this.#takeover.begin();
    this.#end.begin();
    this.#gathering.begin();
    this.#turn.do({ kind: 'attach' });
    this.#turn.send({ kind: 'welcome', shape: this.shape });
    this.#gathering.copyMoved();
    this.#vouching.begin();
    this.#vouching.beat();
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
        this.#end.protects();
        this.#turn.stopTimer('step');
        this.#turn.tell({ kind: 'protected', term: this.#turn.term });
        return;
      case 'refusal':
        this.#end.backToListening(`the primary refuses this standby: ${message.reason}`, true);
        return;
      case 'heartbeat':
        if (this.#vouching.answer(message)) this.#takeover.consented();
        return;
      case 'end':
        this.#end.peerEnds(message);
        return;
      case 'ended':
        if (this.phase !== 'leaving') throw outOfOrder(message.kind, this.#expected);
        this.#end.left();
        return;
      case 'checkpoint-request':
      case 'vmstate-send':
      case 'vmstate-size':
        this.#gathering.message(message);
        return;
      case 'take-over':
        this.#givenUp(message);
        return;
      case 'handover':
        this.#handover.offered(message.epoch, this.#expected);
        return;
      case 'handover-done':
        this.#handover.done(message.epoch, this.#expected);
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

  /** P's disk is broken: it is silent for good, and claims nothing. */
  #givenUp({ kind, why }: TakeOver): void {
    if (this.phase === 'leaving') return; // P reads soon that nobody is here to take it
    if (this.phase !== 'protecting') throw outOfOrder(kind, this.#expected);
    this.#turn.tell({ kind: 'peer-lost', why: `its disk failed: ${why}` });
    this.#takeover.given();
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
      this.#vouching.counts();
      this.#turn.send({ kind: 'checkpoint-ready', epoch });
      this.#turn.startTimer('step', this.#settings.stepMs);
    } else if (this.phase === 'protecting') {
      this.#turn.send({ kind: 'vmstate-loaded', epoch });
    } else this.#takeover.loaded();
  }

  #timer(timer: TimerName, turned: boolean): void {
    switch (timer) {
      case 'heartbeat':
        this.#vouching.rang(turned);
        if (hasPeer(this.phase)) this.#listen();
        return;
      case 'step':
        if (this.phase === 'leaving') {
          this.#end.left();
          return;
        }
        this.#overdue();
        return;
      case 'consent':
        this.#takeover.go();
        return;
      case 'ask':
        if (this.phase === 'taking-over') this.#handover.writeNextTerm();
        else this.#takeover.askAgain();
        return;
      case 'checkpoint':
      case 'disk-log':
        return;
      default:
        timer satisfies never;
    }
  }

  /** Is P silent for too long? If not, it is told that this side lives. */
  #listen(): void {
    const silentMs = this.#vouching.silentMs();
    if (silentMs === undefined) this.#vouching.goOn();
    else this.#lose(`silent for ${silentMs} ms`, 'network');
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

  #lose(why: string, by: 'peer' | 'network', operator: OperatorWord = { byOperator: false, sure: false }): void {
    switch (this.phase) {
      case 'listening':
      case 'going-live':
      case 'live':
      case 'refused':
      case 'failed':
      case 'ended':
        return;
      case 'claiming':
        this.#takeover.closed(by);
        return;
      case 'leaving':
        this.#end.left();
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
      this.#end.backToListening(why, true);
      return;
    }
    this.#turn.tell({ kind: 'peer-lost', why });
    this.#takeover.claim(by, operator);
  }
}
