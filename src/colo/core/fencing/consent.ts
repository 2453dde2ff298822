import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';

/**
 * Consent in time (spec B.6). Every heartbeat of P carries P's clock, S returns it.
 *
 *     P  ---- t=100 ------------------------- may release until 100 + L --|
 *              \             /
 *     S         +-- answer -+---- goes live no earlier than L and a margin after this --|
 *
 * P's end of it. Its times are P's clock alone.
 */
export class ConsentHeld {
  readonly #rules: Rules;
  readonly #settings: Settings;
  #until = Number.NEGATIVE_INFINITY;

  constructor(rules: Rules, settings: Settings) {
    this.#rules = rules;
    this.#settings = settings;
  }

  /** P may release before this. */
  get until(): number {
    return this.#until;
  }

  /** S answered the heartbeat that was sent at `sentAt`. True if there is more consent than before. */
  answered(sentAt: number, now: number): boolean {
    const until = this.#rules.consentEnds(sentAt, now, this.#settings.leaseMs);
    if (until <= this.#until) return false;
    this.#until = until;
    return true;
  }

  /** Gives all of it up. */
  withdraw(): void {
    this.#until = Number.NEGATIVE_INFINITY;
  }
}

/** S's end of it. Its times are S's clock alone. */
export class ConsentGiven {
  readonly #rules: Rules;
  readonly #settings: Settings;
  #lastAnswered = Number.NEGATIVE_INFINITY;
  #peerIsGone = false;

  constructor(rules: Rules, settings: Settings) {
    this.#rules = rules;
    this.#settings = settings;
  }

  answered(now: number): void {
    this.#lastAnswered = now;
  }

  closed(by: 'peer' | 'network'): void {
    if (this.#rules.closeProvesGone(by)) this.#peerIsGone = true;
  }

  /** P releases nothing any more. */
  isOver(now: number): boolean {
    const { leaseMs, clockRateError } = this.#settings;
    return this.#peerIsGone || this.#rules.consentIsOver(this.#lastAnswered, now, leaseMs, clockRateError);
  }

  /** No earlier than this is it worth asking again. */
  askAt(now: number): number {
    return Math.max(now + 1, this.#lastAnswered + consentLengthMs(this.#settings));
  }
}

/** When S looks whether consent is over, ms after its last answer: later than the rule says, whichever clock is the slower one. */
export function consentLengthMs({ leaseMs, clockRateError }: Pick<Settings, 'leaseMs' | 'clockRateError'>): number {
  return leaseMs * (1 + 3 * clockRateError);
}
