/** What a look counts for at most, in ms. */
const longestLookMs = 20;

/**
 * How long to wait for another thread of this process, which is looked at again and again.
 *
 * A process that is frozen (SIGSTOP, a host that sleeps or has no processor for it) comes back with the wait long over, and
 * the other thread has not run either. So what counts is the time between two looks, and of that no more than one
 * would take in a process that runs: after a freeze the other thread has what was left to it before.
 */
export class Patience {
  readonly #now: () => number;
  #leftMs: number;
  #lookedAt: number;

  /** @param now a clock in ms */
  constructor(limitMs: number, now: () => number = () => performance.now()) {
    this.#now = now;
    this.#leftMs = limitMs;
    this.#lookedAt = now();
  }

  /** Asked at each look, in vain; true: that was the last one. */
  isOver(): boolean {
    const now = this.#now();
    this.#leftMs -= Math.min(now - this.#lookedAt, longestLookMs);
    this.#lookedAt = now;
    return this.#leftMs <= 0;
  }
}

/** How often {@link inTime} looks, in ms. */
const lookMs = 10;

/** What `promise` gives, in a box; undefined if that takes longer than there is patience. */
export async function inTime<T>(promise: Promise<T>, patience: Patience): Promise<{ readonly value: T } | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setInterval(() => {
      if (patience.isOver()) resolve(undefined);
    }, lookMs);
  });
  try {
    return await Promise.race([promise.then((value) => ({ value })), late]);
  } finally {
    clearInterval(timer);
  }
}
