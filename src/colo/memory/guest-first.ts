import { setTimeout as sleep } from 'node:timers/promises';

/** Shorter work is not looked at by itself: a look costs some microseconds. */
const lookMs = 4;
/** Whoever waits for the work waits for no rest that is longer, whatever the guest's threads were kept from. */
const longestRestMs = 200;

/** The machine's time, as it passes. */
export interface GuestTime {
  /** A clock, ms. */
  readonly now: () => number;
  /** How long the guest's vCPUs could have run and had to wait for a processor until now, ms. */
  readonly waited: () => number;
  readonly rest: (ms: number) => Promise<unknown>;
}

/** This thread's clock. @param waited see {@link GuestTime} */
export function guestTime(waited: () => number): GuestTime {
  return { now: () => performance.now(), waited, rest: (ms) => sleep(ms) };
}

/** How long to rest after work of `workedMs` during which the guest's vCPUs waited for so long. */
export function restMs(workedMs: number, waitedMs: number): number {
  return Math.min(longestRestMs, Math.max(0, Math.min(workedMs, waitedMs)));
}

/**
 * Long work on a host that has too few processors for it and the guest: it rests as long as the guest had to wait, so that the guest
 * has at least half of the time, and the work takes twice its own at most. Where nobody waits there is no rest.
 */
export class GuestFirst {
  readonly #time: GuestTime;
  #began = 0;
  #waited = 0;

  constructor(time: GuestTime) {
    this.#time = time;
  }

  /** Work begins. */
  begin(): void {
    this.#began = this.#time.now();
    this.#waited = this.#time.waited();
  }

  /** A piece of the work is over: comes back when the next one may begin. */
  async next(): Promise<void> {
    const worked = this.#time.now() - this.#began;
    if (worked < lookMs) return;
    const rest = restMs(worked, this.#time.waited() - this.#waited);
    if (rest > 0) await this.#time.rest(rest);
    this.begin();
  }
}
