/** Whose thread it is. */
export interface Thread<Step> {
  /** It does not turn, now or never again. */
  readonly isHalted: boolean;
  /** This step is about to be done: anything may happen first, also that the thread halts. */
  before(step: Step): void;
  execute(step: Step): void;
}

/**
 * A process's thread: steps of the last event first, each of which may be the last one for a while; then the next event. While it is
 * halted, events wait as they would in sockets and timers.
 */
export class EventQueue<Step> {
  readonly #thread: Thread<Step>;
  #steps: Step[] = [];
  #next = 0;
  #busy = false;
  readonly #inbox: (() => void)[] = [];

  constructor(thread: Thread<Step>) {
    this.#thread = thread;
  }

  /** Nothing is under way, and nothing waits. */
  get isIdle(): boolean {
    return !this.#busy && this.#next >= this.#steps.length && this.#inbox.length === 0;
  }

  /** An event, which is taken once everything before it is done. */
  push(run: () => void): void {
    this.#inbox.push(run);
    this.pump();
  }

  /** Steps of the event that is being taken. */
  append(steps: readonly Step[]): void {
    for (const step of steps) this.#steps.push(step);
  }

  /** These steps come before all others. */
  first(steps: readonly Step[]): void {
    this.#steps.splice(this.#next, 0, ...steps);
  }

  /** Does whatever may be done. */
  pump(): void {
    if (this.#busy) return;
    const thread = this.#thread;
    this.#busy = true;
    while (!thread.isHalted) {
      if (this.#next < this.#steps.length) {
        const step = this.#steps[this.#next] as Step;
        thread.before(step);
        if (thread.isHalted) break;
        this.#next++;
        thread.execute(step);
      } else {
        if (this.#next > 0) {
          this.#steps = [];
          this.#next = 0;
        }
        const run = this.#inbox.shift();
        if (run === undefined) break;
        run();
      }
    }
    this.#busy = false;
  }
}
