/**
 * Wakes an event loop from another thread: a shared count that only grows.
 *
 * A ring between two looks of the listener is not lost, and many rings between two looks are one.
 */
export class Doorbell {
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #index: number;

  constructor(cells: Int32Array<SharedArrayBuffer>, index: number) {
    this.#cells = cells;
    this.#index = index;
  }

  ring(): void {
    Atomics.add(this.#cells, this.#index, 1);
    Atomics.notify(this.#cells, this.#index);
  }

  /** Number of rings so far, modulo 2^32: what {@link next} wants to hear about later ones. */
  get rings(): number {
    return Atomics.load(this.#cells, this.#index);
  }

  /** Resolves once there have been more than `heard` rings. Does not keep the process alive. */
  async next(heard: number): Promise<number> {
    for (;;) {
      const wait = Atomics.waitAsync(this.#cells, this.#index, heard);
      if (wait.async) await wait.value;
      const rings = this.rings;
      if (rings !== heard) return rings;
    }
  }
}
