/** How often whoever waits looks whether there is still somebody to answer. */
const lookAgainMs = 50;

/**
 * A question from any thread that another one answers, in two shared cells that only count up.
 *
 *     asked      questions so far
 *     answered   those that are dealt with
 *
 * How the answering thread hears of a question is not a matter of this class.
 */
export class Handshake {
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #asked: number;
  readonly #answered: number;

  constructor(cells: Int32Array<SharedArrayBuffer>, asked: number, answered: number) {
    this.#cells = cells;
    this.#asked = asked;
    this.#answered = answered;
  }

  /** Asks; the number of the question, to {@link wait} for. */
  ask(): number {
    return (Atomics.add(this.#cells, this.#asked, 1) + 1) | 0;
  }

  /** Blocks this thread until question `number` is answered, or `hopeless` says that it never will be. */
  wait(number: number, hopeless: () => boolean): void {
    for (;;) {
      const answered = Atomics.load(this.#cells, this.#answered);
      if (((answered - number) | 0) >= 0 || hopeless()) return;
      Atomics.wait(this.#cells, this.#answered, answered, lookAgainMs);
    }
  }

  /** The latest question, if it is not answered. */
  get question(): number | undefined {
    const asked = Atomics.load(this.#cells, this.#asked);
    return asked === Atomics.load(this.#cells, this.#answered) ? undefined : asked;
  }

  /** Answers question `number` and all before it. */
  answer(number: number): void {
    Atomics.store(this.#cells, this.#answered, number);
    Atomics.notify(this.#cells, this.#answered);
  }
}
