import { type Epoch, next, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import type { ArbiterAnswer } from '../events.ts';
import { Claim } from '../fencing/claim.ts';
import { ConsentGiven } from '../fencing/consent.ts';
import { type FailoverState, newFailover } from '../fencing/failover.ts';
import { disconnect, type StandbyParts } from './standing-by.ts';

/** What an operator has said of a peer that is lost. */
export interface OperatorWord {
  readonly byOperator: boolean;
  readonly sure: boolean;
}

/**
 * From a P that is lost, or gives the guest away, to a guest that runs here (spec A.4, B.6): consent is over, the claim holds, a load that
 * has begun is finished, then S goes live.
 */
export class Takeover {
  readonly #parts: StandbyParts;
  readonly #failover = newFailover();
  #consent: ConsentGiven;
  #claim: Claim;
  #isConsentToldOver = false;
  /** When P was lost. */
  #lostAt = 0;
  #how: 'survivor' | 'switched-over' = 'survivor';

  constructor(parts: StandbyParts) {
    this.#parts = parts;
    const { rules, settings, turn } = parts;
    this.#consent = new ConsentGiven(rules, settings);
    this.#claim = new Claim(turn.term, rules, settings);
  }

  get failover(): FailoverState {
    return this.#failover.state;
  }

  /** The arbiter is asked, and has not answered yet. */
  get isAsking(): boolean {
    return this.#parts.phase.state === 'claiming' && this.#claim.state === 'asking';
  }

  /** A pair is made, in the term that it is now. */
  begin(): void {
    const { rules, settings, turn } = this.#parts;
    this.#consent = new ConsentGiven(rules, settings);
    this.#claim = new Claim(turn.term, rules, settings);
    this.#isConsentToldOver = false;
  }

  /** A heartbeat of P's was answered: P may release for a while. */
  consented(): void {
    this.#consent.answered(this.#parts.turn.now);
  }

  /** P is lost. */
  claim(by: 'peer' | 'network', { byOperator, sure }: OperatorWord): void {
    const { turn, phase } = this.#parts;
    this.#consent.closed(by);
    phase.move('claiming');
    this.#failover.swap('none', 'require');
    disconnect(turn);
    this.#lostAt = turn.now;
    turn.do({ kind: 'empty-taps' });
    this.#claim.start(turn.term, byOperator, sure, turn.now, turn.effects);
    this.go();
  }

  /** P is there, silent for good, and has said that the guest is this side's: nobody has to be asked, and nothing to be waited for. */
  given(): void {
    this.claim('peer', { byOperator: false, sure: true });
  }

  /** P was only silent, and now the connection ends: with P itself, says its kernel, or somewhere on the way. */
  closed(by: 'peer' | 'network'): void {
    this.#consent.closed(by);
    this.go();
  }

  /** An operator says who goes on, while the answer is awaited. */
  operatorSays(sure: boolean): void {
    const { turn } = this.#parts;
    this.#claim.operatorSays(sure, turn.now, turn.effects);
    this.go();
  }

  answered(term: Term, answer: ArbiterAnswer): void {
    const { turn } = this.#parts;
    this.#claim.answered(term, answer, turn.now, turn.effects);
    this.go();
  }

  /** A primary of the pair calls, in that term. */
  called(term: Term): void {
    const { turn } = this.#parts;
    if (!this.isAsking) return;
    this.#claim.taken(term, turn.effects);
    if (!this.isAsking) this.#refused(`the primary goes on without it, in term ${term}`);
  }

  termWritten(term: Term): void {
    this.#claim.termWritten(term, this.#parts.turn.effects);
    this.go();
  }

  /** The alarm `ask` rang. */
  askAgain(): void {
    const { turn } = this.#parts;
    this.#claim.again(turn.now, turn.effects);
  }

  /** The load that had to be finished first is. */
  loaded(): void {
    if (this.#failover.state !== 'relaunch') return;
    this.#failover.swap('relaunch', 'none');
    this.#failover.swap('none', 'require');
    this.go();
  }

  /** Goes live, if it may now. */
  go(): void {
    const { rules, turn, phase, gathering } = this.#parts;
    if (phase.state !== 'claiming') return;
    if (this.#claim.state === 'refused') {
      this.#refused('the arbiter gave the next term to the primary');
      return;
    }
    if (this.#failover.state !== 'require') return;
    const fenced = this.#consent.isOver(turn.now);
    if (!fenced) turn.setTimer('consent', this.#consent.askAt(turn.now));
    this.#tellConsentOver();
    if (!rules.mayGoLive(this.#claim.holds, fenced)) return;
    this.#failover.swap('require', 'active');
    const standsAt = rules.standsAt(gathering.loaded, gathering.received);
    if (standsAt > gathering.loaded && rules.finishesLoadFirst) {
      this.#failover.swap('active', 'relaunch');
      return;
    }
    const term = this.#claim.holds ? this.#claim.term : turn.term;
    this.#claim.used();
    if (!rules.keepsArrivals(turn.now - this.#lostAt)) turn.do({ kind: 'empty-taps' });
    this.#live(standsAt, term, 'survivor');
  }

  /** Whoever looks at the events sees how much of a silence was this. */
  #tellConsentOver(): void {
    const { turn } = this.#parts;
    if (this.#isConsentToldOver || !this.#consent.ranOut(turn.now)) return;
    this.#isConsentToldOver = true;
    turn.tell({ kind: 'consent-over' });
  }

  /** Nobody is asked: P has given the guest away. The term is on disk already, as one in which the guest is P's. */
  handedOver(): void {
    const { turn, gathering } = this.#parts;
    disconnect(turn);
    turn.do({ kind: 'empty-taps' }, { kind: 'write-term', term: next(turn.term) });
    this.#failover.swap('none', 'require');
    this.#failover.swap('require', 'active');
    this.#live(gathering.loaded, next(turn.term), 'switched-over');
  }

  /**
   * Spec A.4, B.12, B.15, in steps that take their time: first of all the network is told, which brings what clients send here from then on;
   * state, clock, kept output out, kept input in, guest on. A guest that runs already (comparing) goes on
   * where it is: what it said is out before anything new, and what it has not been given yet comes first. What came to the TAPs meanwhile
   * it finds there.
   */
  #live(standsAt: Epoch, term: Term, how: 'survivor' | 'switched-over'): void {
    const { rules, turn, phase, gathering } = this.#parts;
    turn.term = term;
    turn.do({ kind: 'discard', beyond: standsAt }, { kind: 'announce' });
    if (gathering.guest === 'none' || !rules.goesOnRunning) {
      turn.do(
        { kind: 'revive', epoch: standsAt, stoppedAt: gathering.receivedAt },
        { kind: 'open' },
        { kind: 'send-kept', epoch: standsAt },
      );
    } else {
      turn.do({ kind: 'hold-guest' }, { kind: 'send-kept', epoch: standsAt }, { kind: 'open' });
    }
    turn.do({ kind: 'replay-input', epoch: standsAt }, { kind: 'resume-guest' });
    turn.stopTimer('consent');
    this.#how = how;
    phase.move('going-live');
    turn.tell({ kind: 'takes-over', term, fromLoss: how === 'survivor' });
  }

  /** All of that is done. */
  runs(): void {
    const { turn, phase } = this.#parts;
    phase.move('live');
    this.#failover.swap('active', 'completed');
    turn.tell({ kind: this.#how, role: 'secondary', term: turn.term });
    turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'took over' });
  }

  #refused(why: string): void {
    const { turn, phase, gathering } = this.#parts;
    phase.move('refused');
    this.#failover.swap('require', 'none');
    turn.stopTimer('consent');
    gathering.endGuest();
    turn.do({ kind: 'shut' }, { kind: 'discard', beyond: noCheckpoint });
    turn.tell({ kind: 'fenced', why });
    turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why: 'the primary went on alone' });
  }
}
