/** Longer does nobody else on the thread wait: heartbeats are due at any time. */
const turnMs = 1;

/** Bounds how long a long piece of work keeps the thread from others. */
export class Turns {
  #began = performance.now();

  /** Comes back at once while the turn is not over, else when others have had theirs. */
  async next(): Promise<void> {
    if (performance.now() - this.#began >= turnMs) await this.pass();
  }

  /** Lets others have their turn now. */
  async pass(): Promise<void> {
    await new Promise(setImmediate);
    this.begin();
  }

  /** A turn begins. */
  begin(): void {
    this.#began = performance.now();
  }
}
