/**
 * A lock between threads in one shared 32-bit cell, as in Drepper's "Futexes are tricky", mutex 2.
 *
 *     0 free    1 held    2 held, and somebody may be waiting
 *
 * Uncontended, lock and unlock are one atomic instruction each. Not recursive.
 */
export class Mutex {
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #index: number;

  constructor(cells: Int32Array<SharedArrayBuffer>, index: number) {
    this.#cells = cells;
    this.#index = index;
  }

  lock(): void {
    if (Atomics.compareExchange(this.#cells, this.#index, 0, 1) === 0) return;
    while (Atomics.exchange(this.#cells, this.#index, 2) !== 0) Atomics.wait(this.#cells, this.#index, 2);
  }

  unlock(): void {
    if (Atomics.exchange(this.#cells, this.#index, 0) === 2) Atomics.notify(this.#cells, this.#index, 1);
  }
}
