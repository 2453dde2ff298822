import type { TimerName } from '../../../../src/colo/core/events.ts';
import type { Agenda } from '../fakes/agenda.ts';
import type { Clock } from '../fakes/clock.ts';

/** The timers that a core sets, by its own clock. One that was set anew meanwhile is over, also if it waits to be heard of already. */
export class CoreTimers {
  readonly #agenda: Agenda;
  readonly #clock: Clock;
  readonly #process: (run: () => void) => void;
  readonly #expired: (timer: TimerName) => void;
  readonly #timers = new Map<TimerName, number>();
  #generation = 0;

  /** @param process runs it when the process has time for it */
  constructor(agenda: Agenda, clock: Clock, process: (run: () => void) => void, expired: (timer: TimerName) => void) {
    this.#agenda = agenda;
    this.#clock = clock;
    this.#process = process;
    this.#expired = expired;
  }

  /** @param at infinite: it is off */
  set(timer: TimerName, at: number): void {
    const generation = ++this.#generation;
    this.#timers.set(timer, generation);
    if (at === Number.POSITIVE_INFINITY) return;
    this.#agenda.at(this.#clock.when(at), () => {
      if (this.#timers.get(timer) === generation) this.#rings(timer, generation);
    });
  }

  /** Its process hears of it when it has time, if it is not over by then. */
  #rings(timer: TimerName, generation: number): void {
    this.#process(() => {
      if (this.#timers.get(timer) === generation) this.#expired(timer);
    });
  }
}
