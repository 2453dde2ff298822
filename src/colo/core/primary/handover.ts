import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import { type Epoch, next } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { refusals } from '../commands.ts';
import type { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { Insistence } from './insistence.ts';
import type { OrderlyEnd } from './orderly-end.ts';
import type { OutputConsent } from './output-consent.ts';
import type { PrimaryPhase } from './primary-phase.ts';

/** The rest of P, as it hands its guest over. */
export interface HandingOver {
  /** It is moved on to handing-over, handed-over and ended, and read. */
  readonly phase: StateMachine<PrimaryPhase>;
  readonly checkpoints: Checkpoints;
  readonly consent: OutputConsent;
  readonly insistence: Insistence;
  readonly end: OrderlyEnd;
  disconnect(): void;
}

/**
 * The roles change in order:
 *
 *     P  last checkpoint, LOADED      S stands where P's clients are
 *     P  handover       ---------->   the guest is paused there, and the next term goes to disk
 *     P  <---------- handover-ready   until here each may claim that term from the arbiter, if the other is lost
 *     P  silent for good; its guest is paused, and what that got sent
 *     P  handover-done  ---------->   behind all of that, on the same stream: the guest runs there; nobody is asked
 *
 * S's guest, if it runs, is paused from the offer on, and S is not ready before it is; one that has ended by itself is not handed over:
 * S asks for a checkpoint (checkpoint-wanted), and the offer is made again after that. P's guest runs on until it is paused. What it says
 * meanwhile is held and never leaves, what comes for it is mirrored, and enters S's guest first: as at a takeover, but without a loss to
 * be noticed.
 *
 * A pause that fails, or takes longer than a step, keeps S waiting no longer: P is silent, and says so as it goes.
 */
export class Handover {
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  readonly #primary: HandingOver;
  /** The roles are to change after the next checkpoint that was wanted for that. */
  #isWanted = false;
  /** S has been told that the guest is its own. */
  #isSaid = false;

  constructor(settings: Settings, rules: Rules, turn: Turn, primary: HandingOver) {
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = turn;
    this.#primary = primary;
  }

  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** A pair is made, of which nobody has wanted anything. */
  begin(): void {
    this.#isWanted = false;
    this.#isSaid = false;
  }

  /** An operator wants it. @returns why not; undefined if it will be done */
  want(): string | undefined {
    const { phase, checkpoints, end } = this.#primary;
    if (phase.state === 'handing-over' || phase.state === 'handed-over' || this.#isWanted) return refusals.switching;
    if (phase.state !== 'protected') return refusals.notProtected;
    if (end.guestHasEnded) return refusals.guestEnds;
    this.#isWanted = true;
    checkpoints.want('switchover');
    return undefined;
  }

  /** The checkpoint that it was wanted after is S's. */
  offer(): void {
    const { phase, checkpoints, end } = this.#primary;
    this.#isWanted = false;
    // It has ended since: S's guest ends as well, in order.
    if (end.guestHasEnded) {
      checkpoints.consider();
      return;
    }
    phase.move('handing-over');
    this.#turn.stopTimer('checkpoint');
    this.#turn.send({ kind: 'handover', epoch: checkpoints.last });
    this.#turn.startTimer('step', this.#settings.stepMs);
  }

  /** S's guest has ended by itself, and S does not take the offer: again after a checkpoint that repairs it. */
  offerAgain(): void {
    const { phase, checkpoints } = this.#primary;
    if (phase.state !== 'handing-over') return;
    phase.move('protected');
    this.#turn.stopTimer('step');
    this.#isWanted = true;
    checkpoints.want('switchover');
  }

  /** S is ready. From here on it alone has a right to this guest. @throws ProtocolError */
  ready(epoch: Epoch, expected: Parameters<typeof outOfOrder>[1]): void {
    const { phase, checkpoints } = this.#primary;
    if (phase.state !== 'handing-over') throw outOfOrder('handover-ready', expected);
    if (epoch !== checkpoints.last) {
      throw new ProtocolError('wrong-epoch', `the peer sent handover-ready of epoch ${epoch}, not ${checkpoints.last}`);
    }
    phase.move('handed-over');
    this.#primary.insistence.ended();
    if (this.#rules.silentBeforeDone) {
      this.#primary.consent.withdraw();
      this.#turn.do({ kind: 'shut' });
    }
    this.#turn.do({ kind: 'pause-guest' });
    if (this.#rules.mayBeDone(false)) this.#done();
    const term = next(this.#turn.term);
    this.#turn.tell({ kind: 'switched-over', role: 'primary', term });
    this.#turn.tell({ kind: 'colo-exit', mode: 'primary', reason: 'request', why: 'the roles were changed' });
    this.#turn.startTimer('step', this.#settings.stepMs);
  }

  /** Nothing enters the guest any more, and S has been sent what did. */
  guestPaused(): void {
    if (this.#primary.phase.state === 'handed-over') this.#done();
  }

  /** S has closed the connection, or is silent: either way the guest is not this side's. */
  stepDown(): void {
    // If S is there all the same, it has nobody to ask.
    this.#done();
    this.#primary.disconnect();
    this.#primary.phase.move('ended');
    this.#turn.do({ kind: 'step-down', term: next(this.#turn.term) });
  }

  #done(): void {
    if (this.#isSaid) return;
    this.#isSaid = true;
    this.#turn.send({ kind: 'handover-done', epoch: this.#primary.checkpoints.last });
  }
}
