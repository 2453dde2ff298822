/**
 * Work of which each piece takes its time and begins when the one before is over: what a core wants done to the machine. What
 * must never wait (heartbeats, the gate, timers) is done beside it.
 */
export class Lane {
  readonly #failed: (error: Error) => void;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;

  /** @param failed a piece threw; the next one begins all the same */
  constructor(failed: (error: Error) => void) {
    this.#failed = failed;
  }

  /** Nothing is under way. */
  get isIdle(): boolean {
    return this.#waiting === 0;
  }

  do(piece: () => void | Promise<void>): void {
    this.#waiting++;
    this.#tail = this.#tail.then(piece).then(
      () => {
        this.#waiting--;
      },
      (error: unknown) => {
        this.#waiting--;
        this.#failed(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }

  /** Resolves when all that was given so far is done. */
  get done(): Promise<void> {
    return this.#tail;
  }
}
