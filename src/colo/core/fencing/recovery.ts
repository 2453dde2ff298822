import type { Settings } from '../settings.ts';

/** How long whoever is given up is out of the game. */
export interface RecoveryTimes {
  /** As long as this at least its threads have to turn in time, and so many detection times; ms. */
  readonly leastCalmMs: number;
  readonly calmDetections: number;
  /** The second wait of a row is this, and each that follows twice as long, up to the longest, ms. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
  /** Protection that has lasted so long was no mistake: what was before it is forgotten, ms. */
  readonly steadyMs: number;
}

export const recoveryTimes: RecoveryTimes = {
  leastCalmMs: 2000,
  calmDetections: 5,
  firstWaitMs: 10_000,
  longestWaitMs: 600_000,
  steadyMs: 600_000,
};

/**
 * When a standby that its primary has given up stands by again. Overload is not death: a host that is starved, or whose link is
 * full, looks like one that is lost, and is well a moment later. To pair with it at once would be to give it up again, and each
 * time the guest's output waits for as long as a loss takes to be noticed, and all of its memory is copied.
 *
 *     given up    --->    calm: its threads turned in time, five detection times long (at least 2 s)
 *                         the second time within ten minutes of protection: 10 s; then 20, 40, ... up to ten minutes
 *
 * So an overload costs one failover however often it lets go for a moment, and one that comes again and again soon costs one in
 * ten minutes. It is the standby that waits, not the survivor: another standby, or a new process of this one, is taken at once.
 */
export class Recovery {
  readonly #times: RecoveryTimes;
  readonly #lateMs: number;
  readonly #calmMs: number;
  #protectingSince: number | undefined;
  /** Losses that followed each other. */
  #losses = 0;
  #waitsUntil = Number.NEGATIVE_INFINITY;
  #calmSince = Number.NEGATIVE_INFINITY;
  #turnedAt = Number.NEGATIVE_INFINITY;

  constructor({ detectMs }: Pick<Settings, 'detectMs'>, times = recoveryTimes) {
    this.#times = times;
    this.#lateMs = detectMs / 2;
    this.#calmMs = Math.max(times.leastCalmMs, times.calmDetections * detectMs);
  }

  /** How often it was given up, one time soon after the other. */
  get losses(): number {
    return this.#losses;
  }

  /** It can take over from now on. */
  protects(now: number): void {
    this.#protectingSince = now;
  }

  /** Its primary went on without it. */
  givenUp(now: number): void {
    const { firstWaitMs, longestWaitMs, steadyMs } = this.#times;
    if (this.#protectingSince !== undefined && now - this.#protectingSince >= steadyMs) this.#losses = 0;
    this.#protectingSince = undefined;
    this.#losses++;
    const waitMs = this.#losses === 1 ? 0 : Math.min(firstWaitMs * 2 ** (this.#losses - 2), longestWaitMs);
    this.#waitsUntil = now + waitMs;
    this.#calmSince = now;
    this.#turnedAt = now;
  }

  /** Its thread has turned: to be said a few times in each detection time while it waits. */
  turned(now: number): void {
    if (now - this.#turnedAt > this.#lateMs) this.#calmSince = now;
    this.#turnedAt = now;
  }

  /** How long it will wait yet, if it turns in time from now on, ms; 0: it may stand by. */
  left(now: number): number {
    return Math.max(0, this.#waitsUntil - now, this.#calmSince + this.#calmMs - now);
  }
}
