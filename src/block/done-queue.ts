import type { Completion } from './disk-engine.ts';

/** Calls that are done and whose completions have not been told yet, in order. */
export class DoneQueue {
  readonly #completions: (Completion | undefined)[] = [];
  readonly #results: number[] = [];
  #first = 0;
  #last = 0;

  get empty(): boolean {
    return this.#first === this.#last;
  }

  add(completion: Completion, result: number): void {
    this.#completions[this.#last] = completion;
    this.#results[this.#last++] = result;
  }

  /** Tells the oldest one. Hot path. */
  deliver(): void {
    const completion = this.#completions[this.#first] as Completion;
    const result = this.#results[this.#first] as number;
    this.#completions[this.#first++] = undefined;
    if (this.#first === this.#last) {
      this.#first = 0;
      this.#last = 0;
    }
    completion.finished(result);
  }
}
