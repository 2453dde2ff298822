import { Fifo } from './fifo.ts';

/**
 * P's account of what S's guest said in this epoch (spec B.15), in the order in which it came: which of it S need not keep any more.
 * S keeps it in that order, so what counts is how many of the first are done.
 */
export class Confirmations {
  readonly #done = new Fifo<boolean>();
  #confirmed = 0;
  #told = 0;

  /** Another epoch: what S's guest said before is no concern. */
  begin(): void {
    this.#done.clear();
    this.#confirmed = 0;
    this.#told = 0;
  }

  /** S's guest said something. Its number in this epoch. */
  came(): number {
    this.#done.push(false);
    return this.#confirmed + this.#done.length - 1;
  }

  /** S need not keep it: its like has left, or no client waits for its like. */
  done(number: number): void {
    const index = number - this.#confirmed;
    if (index < 0 || index >= this.#done.length) return;
    this.#done.replace(index, true);
    while (this.#done.first === true) {
      this.#done.shift();
      this.#confirmed++;
    }
  }

  /** How many are done of which {@link news} has not told. */
  get untold(): number {
    return this.#confirmed - this.#told;
  }

  /** How many of the first are done, if that is news since the last call. */
  news(): number | undefined {
    if (this.#confirmed === this.#told) return undefined;
    this.#told = this.#confirmed;
    return this.#confirmed;
  }
}
