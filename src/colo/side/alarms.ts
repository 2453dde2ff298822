import type { TimerName } from '../core/events.ts';

/** A core's timers: one of a name at a time, by the side's clock. */
export class Alarms {
  readonly #now: () => number;
  readonly #rang: (timer: TimerName) => void;
  readonly #set = new Map<TimerName, NodeJS.Timeout>();

  constructor(now: () => number, rang: (timer: TimerName) => void) {
    this.#now = now;
    this.#rang = rang;
  }

  /** @param at by the clock; in the past: as soon as may be; Infinity: never mind */
  set(timer: TimerName, at: number): void {
    clearTimeout(this.#set.get(timer));
    this.#set.delete(timer);
    if (at === Number.POSITIVE_INFINITY) return;
    // Rounded up: one that rings before its time would be set again for nothing.
    const delay = Math.max(0, Math.ceil(at - this.#now()));
    this.#set.set(
      timer,
      setTimeout(() => {
        this.#set.delete(timer);
        this.#rang(timer);
      }, delay),
    );
  }

  clear(): void {
    for (const timeout of this.#set.values()) clearTimeout(timeout);
    this.#set.clear();
  }
}
