import type { Settings } from '../settings.ts';

/** Why a checkpoint is wanted. Several before it are one (spec A.2.2). */
export type Reason =
  | 'delay' // x-checkpoint-delay
  | 'output' // the guest's answers wait (buffered mode)
  | 'command'
  | 'parameter'
  | 'divergence' // the two guests do not agree (comparing mode)
  | 'room' // S has no more for what its guest says, is told, or writes by itself
  | 'backlog' // the guest has no room to send, for something older waits for S's (comparing mode)
  | 'mode' // the open epoch is in the wrong one (spec B.8)
  | 'disk-log' // S's log is half full
  | 'switchover' // the last one of this primary: S takes over from it
  | 'reset' // the guest began anew (spec B.13)
  | 'end'; // the guest has ended: its last answers are to leave

/**
 * When the next checkpoint begins (spec A.2.2, B.8). A trigger re-arms the delay from its own time. Output asks for a checkpoint
 * as soon as the last one is done, as long as the guest keeps its share of the time; everything else begins at once.
 */
export class Pacing {
  readonly #reasons = new Set<Reason>();
  #settings: Settings;
  #delayMs: number;
  #lastTrigger = 0;
  #resumedAt = 0;
  #stoppedMs = 0;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#delayMs = settings.checkpointDelayMs;
  }

  set delayMs(delayMs: number) {
    this.#delayMs = delayMs;
  }

  get delayMs(): number {
    return this.#delayMs;
  }

  /** A checkpoint is wanted for something. */
  get isWanted(): boolean {
    return this.#reasons.size > 0;
  }

  /** The delay counts from now. */
  arm(now: number): void {
    this.#lastTrigger = now;
  }

  want(reason: Reason, now: number): void {
    if (!this.#reasons.has(reason)) this.#lastTrigger = now;
    this.#reasons.add(reason);
  }

  /**
   * A stop is ordered, and will have all that was wanted so far; what is wanted from now on may have happened after it, and is
   * for the next one.
   */
  stopping(): readonly Reason[] {
    const reasons = [...this.#reasons];
    this.#reasons.clear();
    return reasons;
  }

  /** The stop is over. */
  stopped(stoppedMs: number, now: number): void {
    this.#resumedAt = now;
    this.#stoppedMs = stoppedMs;
  }

  /** When the next checkpoint begins, if nothing more happens. A clock that went back makes nothing later. */
  dueAt(now: number): number {
    this.#lastTrigger = Math.min(this.#lastTrigger, now);
    this.#resumedAt = Math.min(this.#resumedAt, now);
    if (this.#reasons.size === 0) return this.#lastTrigger + this.#delayMs;
    for (const reason of this.#reasons) if (reason !== 'output' && reason !== 'mode') return Number.NEGATIVE_INFINITY;
    const { guestShare } = this.#settings;
    return this.#resumedAt + (this.#stoppedMs * guestShare) / (1 - guestShare);
  }

  /** The reason can wait until most pages are over (spec B.3). */
  get canWait(): boolean {
    for (const reason of this.#reasons) if (reason !== 'delay' && reason !== 'switchover') return false;
    return this.#reasons.size > 0;
  }
}
