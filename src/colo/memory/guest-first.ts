import { setTimeout as sleep } from 'node:timers/promises';
import { threadMs } from '../../host/system/clock.ts';

/** Longer does nobody else on the thread wait: heartbeats are due at any time, and the guest's packets and changes of disks. */
const turnMs = 1;
/** The thread is looked at so often: that costs some microseconds. */
const lookMs = 4;
/** A timer takes a millisecond. */
const shortestRestMs = 1;
/** Whoever waits for the work waits for no rest that is longer, whatever the guest was kept from. */
const longestRestMs = 500;
/** Of the time in which the work keeps the guest waiting all along, the guest has so many parts, and the work one. */
const guestParts = 3;

/** The machine's time, as it passes; all in ms. */
export interface GuestTime {
  readonly now: () => number;
  /** How long this thread has run until now. */
  readonly worked: () => number;
  /** How long the guest's threads could have run and had to wait for a processor until now, all together. */
  readonly waited: () => number;
  readonly rest: (ms: number) => Promise<unknown>;
  /** Whoever else has something to do on this thread does it. */
  readonly pass: () => Promise<unknown>;
}

/** This thread's time. @param waited see {@link GuestTime} */
export function guestTime(waited: () => number): GuestTime {
  return {
    now: () => performance.now(),
    worked: threadMs,
    waited,
    rest: (ms) => sleep(ms),
    pass: () => new Promise(setImmediate),
  };
}

/**
 * How long to rest after work, ms.
 *
 * @param workedMs how long the work took
 * @param waitedMs how long the guest's threads waited for a processor meanwhile, all together
 * @param keptShare of the turns of the work, in how many the guest had something for this thread: that waited for the turn's end
 */
export function restMs(workedMs: number, waitedMs: number, keptShare: number): number {
  const kept = Math.min(workedMs, Math.max(0, waitedMs) + workedMs * keptShare);
  return Math.min(longestRestMs, guestParts * Math.max(0, kept));
}

/**
 * Copies yield to the guest: of RAM and of disks, on the thread that its packets and changes of disks pass, and on a host that may have
 * too few processors for both. They rest three times as long as they kept the guest waiting, by its threads' run delay and by
 * what of its came to this thread meanwhile. So a copy takes four times its own time at most, and its own where nobody waits for it:
 * of a guest that idles, and of one that computes where processors are free. Time in which this thread waits for the peer, or a disk, is
 * none of the work's; what it encrypts and sends is.
 *
 * One for all that is copied at a time; several may take turns in it.
 */
export class GuestFirst {
  readonly #time: GuestTime;
  #turnBegan = 0;
  #turns = 0;
  #turnsKept = 0;
  #guestCame = false;
  /** When the thread was looked at last, how long it had run then, and the guest waited. */
  #lookedAt = 0;
  #workedMs = 0;
  #waitedMs = 0;
  /** How long the thread had run when it began to serve the guest. */
  #serving = 0;
  #resting: Promise<unknown> | undefined;
  #isCopying = false;

  constructor(time: GuestTime) {
    this.#time = time;
  }

  /** The guest has something for this thread, and it is done now, until {@link guestServed}. */
  guestCame(): void {
    if (!this.#isCopying) return;
    this.#guestCame = true;
    this.#serving = this.#time.worked();
  }

  /** That was no part of the work. */
  guestServed(): void {
    if (this.#isCopying) this.#workedMs += this.#time.worked() - this.#serving;
  }

  /** Work begins, or goes on when it has waited for somebody else: a turn begins. */
  begin(): void {
    this.#turnBegan = this.#time.now();
    this.#guestCame = false;
    if (this.#isCopying) return;
    this.#isCopying = true;
    this.#look();
  }

  /** All is copied. */
  end(): void {
    this.#isCopying = false;
  }

  /** A piece of the work is over: comes back when the next one may begin, at once while the turn lasts. */
  async next(): Promise<void> {
    if (this.#time.now() - this.#turnBegan >= turnMs) await this.#pass();
    // Somebody else's rest counts for all.
    if (this.#resting !== undefined) await this.#resting;
    else if (this.#time.now() - this.#lookedAt >= lookMs) await this.#rest();
  }

  async #pass(): Promise<void> {
    await this.#time.pass();
    this.#turns++;
    if (this.#guestCame) this.#turnsKept++;
    this.begin();
  }

  async #rest(): Promise<void> {
    const { worked, waited, rest } = this.#time;
    const keptShare = this.#turns === 0 ? 0 : this.#turnsKept / this.#turns;
    const ms = restMs(worked() - this.#workedMs, waited() - this.#waitedMs, keptShare);
    if (ms >= shortestRestMs) {
      this.#resting = rest(ms);
      await this.#resting;
      this.#resting = undefined;
      this.begin();
    }
    this.#look();
  }

  /** What was until now does not count any more. */
  #look(): void {
    this.#lookedAt = this.#time.now();
    this.#workedMs = this.#time.worked();
    this.#waitedMs = this.#time.waited();
    this.#turns = 0;
    this.#turnsKept = 0;
  }
}
