/** A stream of numbers from 0 to below 1 (mulberry32). Streams of other names do not disturb each other. */
export class RandomStream {
  #state: number;

  constructor(seed: number, name: number) {
    this.#state = (Math.imul(seed ^ 0x9e37_79b9, 0x85eb_ca6b) ^ Math.imul(name + 1, 0xc2b2_ae35)) >>> 0;
    this.next();
    this.next();
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0;
    const state = this.#state;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** Mixes a value into a hash of 32 bits: the guest's history is such a chain. */
export function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35) + value;
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
