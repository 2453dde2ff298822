import type { Term } from '../../protocol/numbers.ts';
import type { ArbiterAnswer, Effect } from '../events.ts';
import { type Moves, StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';

/**
 * A side's claim to go on alone (spec B.6): the arbiter's yes for the next term, and that term on disk.
 *
 *     none --> asking --> granted --> durable
 *                |  ^ unknown, or no answer: the same question again
 *                v
 *             refused
 */
export type ClaimState = 'none' | 'asking' | 'granted' | 'durable' | 'refused';

const moves: Moves<ClaimState> = {
  none: ['asking'],
  asking: ['granted', 'refused'],
  granted: ['durable'],
  durable: ['none'],
  refused: [],
};

export class Claim {
  readonly #rules: Rules;
  readonly #settings: Settings;
  readonly #state = new StateMachine<ClaimState>('claim', moves, 'none');
  #pairTerm: Term;
  #asked = 0;
  #byOperator = false;
  #granted: Term;

  constructor(term: Term, rules: Rules, settings: Settings) {
    this.#pairTerm = term;
    this.#granted = term;
    this.#rules = rules;
    this.#settings = settings;
  }

  get state(): ClaimState {
    return this.#state.state;
  }

  /** The term that was granted. */
  get term(): Term {
    return this.#granted;
  }

  /** True once the yes is there and may be used. */
  get holds(): boolean {
    if (this.state === 'granted') return this.#rules.mayUseTerm(false);
    return this.state === 'durable';
  }

  /** Asks for the term after `term`. With `sure`, an operator has said yes already, or the peer itself. */
  start(term: Term, byOperator: boolean, sure: boolean, now: number, effects: Effect[]): void {
    this.#pairTerm = term;
    this.#byOperator = byOperator;
    this.#asked = 0;
    this.#state.swap('none', 'asking');
    if (sure) this.#grant(this.#rules.termToAsk(term, 0), now, effects);
    else this.#ask(now, effects);
  }

  /** An operator said `x-colo-lost-heartbeat` while the answer is awaited: to a manual arbiter that is the yes. */
  operatorSays(sure: boolean, now: number, effects: Effect[]): void {
    if (this.state !== 'asking') return;
    this.#byOperator = true;
    if (sure) this.#grant(this.#rules.termToAsk(this.#pairTerm, this.#asked), now, effects);
    else this.#ask(now, effects);
  }

  answered(term: Term, answer: ArbiterAnswer, now: number, effects: Effect[]): void {
    // An answer to an earlier question says nothing about this one.
    if (this.state !== 'asking' || term <= this.#pairTerm) return;
    if (this.#rules.isYes(answer)) this.#grant(term, now, effects);
    else if (this.#rules.isNo(answer)) this.#refuse(effects);
  }

  /** The peer is in this term, or one of its pair's is: who gave it that gives nobody the same. A yes that is here already stands. */
  taken(term: Term, effects: Effect[]): void {
    if (this.state === 'asking' && this.#rules.isTaken(term, this.#pairTerm)) this.#refuse(effects);
  }

  termWritten(term: Term, effects: Effect[]): void {
    if (this.state !== 'granted' || term !== this.#granted) return;
    this.#state.move('durable');
    effects.push({ kind: 'timer', timer: 'ask', at: Number.POSITIVE_INFINITY });
  }

  /** The alarm `ask` rang: the question, or the write, again. */
  again(now: number, effects: Effect[]): void {
    if (this.state === 'asking') this.#ask(now, effects);
    else if (this.state === 'granted') this.#write(now, effects);
  }

  /** The term is in use: a later loss begins a new claim. */
  used(): void {
    if (this.state === 'durable') this.#state.move('none');
  }

  #ask(now: number, effects: Effect[]): void {
    const term = this.#rules.termToAsk(this.#pairTerm, this.#asked++);
    effects.push(
      { kind: 'ask-arbiter', term, byOperator: this.#byOperator },
      { kind: 'timer', timer: 'ask', at: now + this.#settings.askAgainMs },
    );
  }

  #refuse(effects: Effect[]): void {
    this.#state.move('refused');
    effects.push({ kind: 'timer', timer: 'ask', at: Number.POSITIVE_INFINITY });
  }

  #grant(term: Term, now: number, effects: Effect[]): void {
    this.#granted = term;
    this.#state.move('granted');
    this.#write(now, effects);
  }

  #write(now: number, effects: Effect[]): void {
    effects.push(
      { kind: 'write-term', term: this.#granted },
      { kind: 'timer', timer: 'ask', at: now + this.#settings.askAgainMs },
    );
  }
}
