import { copyMemory, viewMemory } from '../../host/libc/memory.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import type { Closable } from '../../host/ownership.ts';
import type { RandomSource } from './random-source.ts';
import type { SeededRandomState } from './rng-state.ts';

/** A saved state that no generator can have. */
export class SeededRandomStateError extends Error {
  readonly code = 'SEEDED_RANDOM_STATE';

  constructor(reason: string) {
    super(`not a state of the random generator: ${reason}`);
    this.name = 'SeededRandomStateError';
  }
}

const bufferBytes = 4096;

/**
 * Bytes that look random and are the same for the same seed: xoshiro128** (Blackman and Vigna, 2018). For runs that can
 * be repeated; a guest must not make keys of it.
 *
 * A request takes whole words: what is left of the last one is not used for the next request.
 */
export class SeededRandom implements RandomSource, Closable {
  readonly #state = new Uint32Array(4);
  readonly #buffer = new AnonymousMapping('seeded random', bufferBytes);
  readonly #words = new Uint32Array(viewMemory(this.#buffer.address, bufferBytes));

  constructor(seed: number) {
    // SplitMix32 spreads the seed over the state, which must not be all zeros; and with it never is.
    let state = seed >>> 0;
    for (let index = 0; index < 4; index++) {
      state = (state + 0x9e37_79b9) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x85eb_ca6b);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
      this.#state[index] = mixed ^ (mixed >>> 16);
    }
  }

  fill(address: number, length: number): number {
    let filled = 0;
    while (filled < length) {
      const part = Math.min(length - filled, bufferBytes);
      for (let index = 0; index * 4 < part; index++) this.#words[index] = this.#next();
      copyMemory(address + filled, this.#buffer.address, part);
      filled += part;
    }
    return length;
  }

  save(): SeededRandomState {
    return { version: 1, words: [...this.#state] };
  }

  /** @throws SeededRandomStateError and keeps its state */
  load(state: SeededRandomState): void {
    const { version, words } = state;
    if (version !== 1) throw new SeededRandomStateError(`its version is ${version}, this program knows 1`);
    if (!Array.isArray(words) || words.length !== 4) throw new SeededRandomStateError('it has not four words');
    for (const word of words) {
      if (!Number.isInteger(word) || word < 0 || word > 0xffff_ffff) {
        throw new SeededRandomStateError(`${word} is no 32-bit word`);
      }
    }
    if (words.every((word) => word === 0)) throw new SeededRandomStateError('all of it is zero');
    this.#state.set(words);
  }

  close(): void {
    this.#buffer.close();
  }

  #next(): number {
    const state = this.#state;
    const [a, b, c, d] = state as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9);
    const third = c ^ a;
    const fourth = d ^ b;
    state[1] = b ^ third;
    state[0] = a ^ fourth;
    state[2] = third ^ (b << 9);
    state[3] = rotate(fourth, 11);
    return result >>> 0;
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
