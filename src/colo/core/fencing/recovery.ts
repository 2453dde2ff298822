import type { Settings } from '../settings.ts';

/** The first wait is this, and each that follows soon is twice as long, up to the last one, ms. */
const firstWaitMs = 10_000;
const longestWaitMs = 600_000;
/** Protection that has lasted so long was no mistake: what was before it is forgotten, ms. */
const steadyMs = 600_000;
/** As long as this at least its threads have to turn in time, ms. */
const leastCalmMs = 2000;

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
  readonly #lateMs: number;
  readonly #calmMs: number;
  #protectingSince: number | undefined;
  /** Losses that followed each other. */
  #losses = 0;
  #waitsUntil = Number.NEGATIVE_INFINITY;
  #calmSince = Number.NEGATIVE_INFINITY;
  #turnedAt = Number.NEGATIVE_INFINITY;

  constructor({ detectMs }: Pick<Settings, 'detectMs'>) {
    this.#lateMs = detectMs / 2;
    this.#calmMs = Math.max(leastCalmMs, 5 * detectMs);
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
