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

/**
 * How long P has gone without consent though it hears S. Over a link on which a heartbeat and its answer take longer than a consent
 * lasts both are heard all the time, and nothing leaves:
 *
 *     P  --- t=100 --\   /-- t=140 --\   /---             over before it comes, each time: L = 150, and it is 320
 *     S               \-/             \-/
 *
 * Of time in which P itself did not run two heartbeats count at most: that was not S's doing.
 */
export class ConsentMissed {
  readonly #heartbeatMs: number;
  #ms = 0;
  #heldUntil = Number.NEGATIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor({ heartbeatMs }: Pick<Settings, 'heartbeatMs'>) {
    this.#heartbeatMs = heartbeatMs;
  }

  /** Nothing is missed yet. */
  begin(now: number): void {
    this.#ms = 0;
    this.#lookedAt = now;
  }

  /** There is consent. */
  held(until: number): void {
    this.#heldUntil = until;
  }

  /** To be asked with each heartbeat. @returns for how long it has been missed by now, ms */
  look(now: number): number {
    const before = this.#heldUntil > this.#lookedAt ? 0 : this.#ms;
    const since = Math.max(this.#lookedAt, this.#heldUntil);
    this.#lookedAt = now;
    this.#ms = before + Math.min(Math.max(0, now - since), 2 * this.#heartbeatMs);
    return this.#ms;
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

  /** It is over by time, not because P is gone for certain. */
  ranOut(now: number): boolean {
    return !this.#peerIsGone && this.isOver(now);
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
