/** A step is one part in so many of what a clock is behind. */
const partsOfRest = 16n;
/** No step is shorter, but the last. */
const shortestStepNs = 20_000_000n;
/** Between two steps. A guest whose timers have run out with the first chooses meanwhile who runs next. */
const stepPeriodMs = 10;
/** A step comes later at most so many times: there are guests that hear of no timer for long. */
const mostDelays = 50;

/**
 * What a guest's clock is behind the time that it is to show, and how it gets there.
 *
 * A scheduler tells by the clock how long a task has run. If the clock jumps, all of the jump is charged to the task that
 * runs at this moment, and where others want the processor too it stands still until each of them has had as much: for a
 * day, in a guest of yesterday. So a clock goes in steps that become shorter. Whoever is charged with one stands back
 * for the next ones, until the others have been charged as much. Where no vCPU runs anything, one step will do.
 */
export class ClockCatchUp {
  /** Nanoseconds that the clock is still to go. */
  behindNs = 0n;
  readonly #step: () => void;
  #timer: NodeJS.Timeout | undefined;
  #delays = 0;

  /** @param step called when the next step is due: it is to advance the clock by {@link next} */
  constructor(step: () => void) {
    this.#step = step;
  }

  /**
   * Nanoseconds to advance the clock by now; for what is left then, `step` will be called.
   *
   * @param atOnce all of it: nothing runs that could be charged
   */
  next(atOnce: boolean): bigint {
    const step = atOnce ? this.behindNs : nextStepNs(this.behindNs);
    this.behindNs -= step;
    this.#delays = 0;
    this.#schedule();
    return step;
  }

  /** Puts the step off, for the guest has not noticed the last one. False: it has to come all the same. */
  delay(): boolean {
    if (this.#delays >= mostDelays) return false;
    this.#delays++;
    this.#schedule();
    return true;
  }

  /** No step is taken until {@link next} is called again. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    this.stop();
    if (this.behindNs > 0n) this.#timer = setTimeout(this.#step, stepPeriodMs).unref();
  }
}

function nextStepNs(behindNs: bigint): bigint {
  const part = behindNs / partsOfRest;
  if (part > shortestStepNs) return part;
  return behindNs < shortestStepNs ? behindNs : shortestStepNs;
}
