import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';

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

  /** The alarm rang: is the peer gone? */
  isSilent(now: number): boolean {
    const { detectMs, heartbeatMs } = this.#settings;
    const overslept = now - this.#dueAt > heartbeatMs;
    if (overslept && !this.#graceGiven) {
      this.#graceGiven = true;
      this.#lastHeard = Math.max(this.#lastHeard, now - detectMs + heartbeatMs);
    }
    return this.#rules.isSilent(this.#lastHeard, now, detectMs);
  }

  /** When the alarm is to ring next: to say something, or to find the peer silent. */
  nextAt(now: number): number {
    const { detectMs, heartbeatMs } = this.#settings;
    this.#dueAt = Math.min(now + heartbeatMs, Math.max(this.#lastHeard + detectMs, now + 1));
    return this.#dueAt;
  }
}
