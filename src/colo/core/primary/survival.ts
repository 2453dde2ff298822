import { next, type Term } from '../../protocol/numbers.ts';
import { refusals } from '../commands.ts';
import { bounded } from '../end-words.ts';
import type { ArbiterAnswer } from '../events.ts';
import { Claim } from '../fencing/claim.ts';
import { newFailover } from '../fencing/failover.ts';
import type { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import type { Insistence } from './insistence.ts';
import type { OrderlyEnd } from './orderly-end.ts';
import type { OutputConsent } from './output-consent.ts';
import type { PrimaryPhase } from './primary-phase.ts';

/** The rest of P, as S is lost. */
export interface Surviving {
  /** It is moved on to waiting, unprotected, giving-up and fenced, and read. */
  readonly phase: StateMachine<PrimaryPhase>;
  readonly consent: OutputConsent;
  readonly insistence: Insistence;
  readonly end: OrderlyEnd;
  disconnect(): void;
}

/**
 * From an S that was counted on and is lost to a P that runs on without it, or is silent for good (spec A.4, B.6):
 *
 *     S is lost --> output is held, the arbiter asked --> its yes, on disk --> all leaves, the guest is unprotected
 *                                     +--> its no: S has the guest --> fenced
 *
 * A P whose own disk is broken does not ask: S has all, and is to go on. Nor has S to ask, if it hears of it:
 *
 *     its disk breaks --> silent for good: take-over ------> S goes on from where it stands, as from a P that is dead
 *                              +--> S closes, or is silent: fenced. If it heard nothing, it asks the arbiter
 */
export class Survival {
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  readonly #primary: Surviving;
  readonly #failover = newFailover();
  readonly #claim: Claim;
  #diskError: string | undefined;

  constructor(settings: Settings, rules: Rules, turn: Turn, primary: Surviving) {
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = turn;
    this.#primary = primary;
    this.#claim = new Claim(turn.term, rules, settings);
  }

  /** A pair is made: a disk that had failed before has taken what the copy and the guest wrote since, or fails again. */
  begin(): void {
    this.#diskError = undefined;
  }

  /** An operator says that S is lost. @returns why that means nothing now; undefined if it was heard */
  operatorSays(sure: boolean): string | undefined {
    const { phase } = this.#primary;
    if (phase.state === 'waiting' && this.#claim.state === 'asking') {
      // To a manual arbiter, this is the answer that it waits for.
      this.#claim.operatorSays(sure, this.#turn.now, this.#turn.effects);
      this.#go();
      return undefined;
    }
    if (this.#failover.state !== 'none') return refusals.failingOver;
    if (phase.state !== 'protected' && phase.state !== 'ending' && phase.state !== 'handing-over') {
      return refusals.noColo;
    }
    this.lost('an operator says that it is lost', { byOperator: true, sure });
    return undefined;
  }

  /** S is lost, which P counted on. */
  lost(why: string, operator: { readonly byOperator: boolean; readonly sure: boolean } = noOperator): void {
    const { phase, end } = this.#primary;
    this.#turn.tell({ kind: 'peer-lost', why });
    this.#primary.disconnect();
    // The guest has ended and all it said is out: there is nothing to go on with.
    if (phase.state === 'ending' && end.exitIfComplete()) return;
    phase.move('waiting');
    this.#failover.swap('none', 'require');
    this.#claim.start(this.#turn.term, operator.byOperator, operator.sure, this.#turn.now, this.#turn.effects);
    this.#go();
  }

  answered(term: Term, answer: ArbiterAnswer): void {
    this.#claim.answered(term, answer, this.#turn.now, this.#turn.effects);
    this.#go();
  }

  termWritten(term: Term): void {
    this.#claim.termWritten(term, this.#turn.effects);
    this.#go();
  }

  /** The alarm `ask` rang. */
  askAgain(): void {
    this.#claim.again(this.#turn.now, this.#turn.effects);
  }

  /** The guest runs on here, and nobody else has a right to it. */
  goOnAlone(reason: 'request' | 'error', why: string): void {
    const { phase, end } = this.#primary;
    this.#turn.do({ kind: 'open' }, { kind: 'detach' });
    phase.move('unprotected');
    this.#turn.tell({ kind: 'colo-exit', mode: 'primary', reason, why });
    end.exitIfEnded();
  }

  /** P's disk is broken. Nothing follows from it before S has all. */
  diskFailed(error: string): void {
    this.#diskError ??= error;
    if (this.#primary.phase.state === 'protected') this.#giveUp(this.#diskError);
  }

  /** S has all, and may take over. @returns whether it is to do so at once, for P's disk broke before that */
  ready(): boolean {
    if (this.#diskError === undefined) return false;
    this.#giveUp(this.#diskError);
    return true;
  }

  /** S has closed the connection, or is silent: either way the guest is not this side's. */
  gaveUp(): void {
    this.#primary.disconnect();
    this.#turn.do({ kind: 'detach' });
    this.#primary.phase.move('fenced');
  }

  /** S is to go on (design: disks): without a new checkpoint, for what the guest could not write is not on this disk. */
  #giveUp(diskError: string): void {
    const { phase, consent } = this.#primary;
    const why = `its disk failed: ${diskError}`;
    if (!this.#rules.givesUpInOrder) {
      this.#primary.disconnect();
      this.#fence(why);
      return;
    }
    phase.move('giving-up');
    this.#turn.stopTimer('checkpoint');
    this.#turn.stopTimer('disk-log');
    if (this.#rules.silentBeforeGivingUp) {
      consent.withdraw();
      this.#turn.do({ kind: 'shut' }, { kind: 'pause-guest' });
    }
    this.#turn.send({ kind: 'take-over', why: bounded(diskError) });
    this.#turn.do({ kind: 'give-away', term: next(this.#turn.term) });
    this.#turn.startTimer('step', this.#settings.stepMs);
    this.#isFenced(why);
  }

  /** Goes on alone, if it may now. */
  #go(): void {
    if (this.#primary.phase.state !== 'waiting') return;
    if (this.#claim.state === 'refused') {
      this.#fence('the arbiter gave the next term to the other side');
      return;
    }
    if (!this.#rules.mayGoOnAlone(this.#claim.holds)) return;
    this.#failover.swap('require', 'active');
    if (this.#claim.holds) this.#turn.term = this.#claim.term;
    this.#claim.used();
    this.goOnAlone('request', 'the standby is lost');
    this.#failover.swap('active', 'completed');
    this.#failover.swap('completed', 'none');
    this.#turn.tell({ kind: 'survivor', role: 'primary', term: this.#turn.term });
  }

  #fence(why: string): void {
    this.#turn.do({ kind: 'shut' }, { kind: 'pause-guest' }, { kind: 'detach' });
    this.#primary.phase.move('fenced');
    this.#isFenced(why);
  }

  /** It is silent for good. */
  #isFenced(why: string): void {
    this.#primary.insistence.ended();
    this.#turn.tell({ kind: 'fenced', why });
    this.#turn.tell({ kind: 'colo-exit', mode: 'primary', reason: 'error', why });
  }
}

const noOperator = { byOperator: false, sure: false } as const;
