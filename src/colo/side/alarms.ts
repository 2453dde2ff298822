import type { TimerName } from '../core/events.ts';

/**
 * A core's timers: one of a name at a time, by the side's clock. A checkpoint sets and stops them a dozen times, and seldom one of
 * them rings: so one of Node's serves them all, which may wake for nothing when what it was set for was put off.
 */
export class Alarms {
  readonly #now: () => number;
  readonly #rang: (timer: TimerName) => void;
  readonly #set = new Map<TimerName, number>();
  #timeout: NodeJS.Timeout | undefined;
  /** When it wakes. */
  #wakesAt = Number.POSITIVE_INFINITY;

  constructor(now: () => number, rang: (timer: TimerName) => void) {
    this.#now = now;
    this.#rang = rang;
  }

  /** @param at by the clock; in the past: as soon as may be; Infinity: never mind */
  set(timer: TimerName, at: number): void {
    this.#set.set(timer, at);
    if (at < this.#wakesAt) this.#wake(at);
  }

  clear(): void {
    this.#set.clear();
    this.#wake(Number.POSITIVE_INFINITY);
  }

  #wake(at: number): void {
    clearTimeout(this.#timeout);
    this.#wakesAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    // Rounded up: one that wakes before its time would be set again for nothing.
    this.#timeout = setTimeout(() => this.#woke(), Math.max(0, Math.ceil(at - this.#now())));
  }

  #woke(): void {
    const now = this.#now();
    const due = [...this.#set].filter(([, at]) => at <= now).sort(([, one], [, other]) => one - other);
    this.#wakesAt = Number.POSITIVE_INFINITY;
    // What rings may set and stop others.
    for (const [timer, at] of due) {
      if (this.#set.get(timer) !== at) continue;
      this.#set.set(timer, Number.POSITIVE_INFINITY);
      this.#rang(timer);
    }
    const next = Math.min(...this.#set.values());
    if (next < this.#wakesAt) this.#wake(next);
  }
}
