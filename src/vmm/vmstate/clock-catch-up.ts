/** Between two looks at the guest. One whose timers have run out with a step chooses meanwhile who runs next. */
const periodMs = 5;
/** For so long a moment is looked for in which nothing runs, before the clock goes in steps. */
const restMs = 500;
/** A step is one part in so many of what the clock is behind. */
const partsOfRest = 32n;
/** No step is shorter, but the last. */
const shortestStepNs = 20_000_000n;

/** What a guest is doing while it is parked to be looked at. */
export interface GuestActivity {
  /** No vCPU runs anything. */
  readonly isIdle: boolean;
  /** Looks once more who has noticed what the clock shows since it was last set. True once the whole guest has, or could have. */
  looksAtClocks(): boolean;
}

/**
 * What a guest's clock is behind the time that it is to show, and how it gets there.
 *
 * A scheduler tells by the clock how long a task has run. If the clock jumps, all of the jump is charged to the task that
 * runs at this moment, and where others want the processor too it does not run until they have had as much: for a day, in a
 * guest of yesterday. So the clock jumps when nothing runs. There is such a moment soon, unless the guest has more to do
 * than it can: then the clock goes in steps that become shorter, so that no task is charged with much, and who is charged
 * with one stands back while the next ones are charged to others.
 */
export class ClockCatchUp {
  readonly #look: () => void;
  readonly #now: () => number;
  #behindNs = 0n;
  #began = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param look called when it is time: it is to advance the clock by {@link next}
   * @param now the host's clock, ms
   */
  constructor(look: () => void, now = () => performance.now()) {
    this.#look = look;
    this.#now = now;
  }

  /** Nanoseconds that the clock is still to go. */
  get behindNs(): bigint {
    return this.#behindNs;
  }

  /** The clock is to go so far from now on. */
  start(behindNs: bigint): void {
    this.#behindNs = behindNs;
    this.#began = this.#now();
  }

  /** Nanoseconds to advance the clock by now, maybe none. As long as something is left, `look` will be called. */
  next(guest: GuestActivity): bigint {
    const step = this.#step(guest);
    this.#behindNs -= step;
    this.later();
    return step;
  }

  /** Has `look` called once more, if something is left. */
  later(): void {
    this.stop();
    if (this.#behindNs > 0n) this.#timer = setTimeout(this.#look, periodMs).unref();
  }

  /** `look` is not called any more. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #step(guest: GuestActivity): bigint {
    const behindNs = this.#behindNs;
    if (behindNs <= shortestStepNs || guest.isIdle) return behindNs;
    if (this.#now() - this.#began < restMs || !guest.looksAtClocks()) return 0n;
    const part = behindNs / partsOfRest;
    return part > shortestStepNs ? part : shortestStepNs;
  }
}
