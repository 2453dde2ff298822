import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';

/**
 * While a pair is made a machine is, too, and its state is loaded for the first time: on a busy host that keeps threads from turning for
 * longer than in any later moment, and nobody counts on that side yet.
 */
export const pairingPatience = 5;

/**
 * Silence, and what may be concluded from it (spec B.5): functions of when the peer was last heard, now and the settings. A
 * side that was itself frozen finds the peer's heartbeats waiting unread: it gives the peer one heartbeat's time, once.
 */
export class Heartbeat {
  readonly #rules: Rules;
  readonly #settings: Settings;
  #lastHeard = 0;
  #dueAt = 0;
  #graceGiven = false;

  constructor(rules: Rules, settings: Settings) {
    this.#rules = rules;
    this.#settings = settings;
  }

  start(now: number): void {
    this.#lastHeard = now;
    this.#dueAt = now;
    this.#graceGiven = false;
  }

  /** Any frame of the peer's heartbeats. */
  heard(now: number): void {
    this.#lastHeard = now;
    this.#graceGiven = false;
  }

  /**
   * The pair is made: from now on the peer is counted on, and its silence begins anew. What it was allowed while the pair was made may
   * be longer over than a loss takes.
   */
  counts(now: number): void {
    this.#lastHeard = Math.max(this.#lastHeard, now);
  }

  /** How long a silence means that the peer is gone, ms. @param isPairing it is not counted on yet */
  limitMs(isPairing: boolean): number {
    const { detectMs } = this.#settings;
    return isPairing ? detectMs * pairingPatience : detectMs;
  }

  /** The alarm rang: is the peer gone? */
  isSilent(now: number, isPairing = false): boolean {
    const { heartbeatMs } = this.#settings;
    const limitMs = this.limitMs(isPairing);
    const overslept = now - this.#dueAt > heartbeatMs;
    if (overslept && !this.#graceGiven) {
      this.#graceGiven = true;
      this.#lastHeard = Math.max(this.#lastHeard, now - limitMs + heartbeatMs);
    }
    return this.#rules.isSilent(this.#lastHeard, now, limitMs);
  }

  /** When the alarm is to ring next: to say something, or to find the peer silent. */
  nextAt(now: number, isPairing = false): number {
    const { heartbeatMs } = this.#settings;
    this.#dueAt = Math.min(now + heartbeatMs, Math.max(this.#lastHeard + this.limitMs(isPairing), now + 1));
    return this.#dueAt;
  }
}
