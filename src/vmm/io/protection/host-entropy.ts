import { Drbg } from '../../../devices/rng/drbg.ts';
import { type RandomSource, seedBytes } from '../../../devices/rng/random-source.ts';
import type { Closable } from '../../../host/ownership.ts';
import { kernelRandom } from '../../../host/system/random.ts';
import { EpochSeed } from '../../platform/shared-protection.ts';

const nothing = new Uint8Array(seedBytes);

/**
 * The host's entropy, as a guest gets it: from the kernel. A guest that is protected gets it from a generator, whose seed is new, of
 * the kernel of the primary's host, with every checkpoint and part of that: two guests that run from there draw the same bytes
 * (spec B.9). Nothing of it is in the device's own state: who goes on from a snapshot draws from the kernel again.
 */
export class HostEntropy implements RandomSource, Closable {
  readonly #kernel: RandomSource;
  readonly #drbg = new Drbg();
  readonly #taken = new Uint8Array(seedBytes);
  /** Where seeds come from; undefined: the guest is not protected. */
  #seed: EpochSeed | undefined;
  /** The generator has one: from the first checkpoint on. */
  #isSeeded = false;

  constructor(kernel: RandomSource = kernelRandom) {
    this.#kernel = kernel;
  }

  /** Seeds of checkpoints come in here from now on. What was drawn from the last one is not drawn again. */
  follow(seed: SharedArrayBuffer): void {
    this.#forget();
    this.#seed = new EpochSeed(seed);
  }

  /**
   * All bytes come from the kernel again: nobody draws the same ones any more. Of a survivor, too, and at once: what the other guest
   * may have drawn of the generator beyond this one stays its own.
   */
  release(): void {
    this.#forget();
    this.#seed = undefined;
  }

  fill(address: number, length: number): number {
    if (this.#seed === undefined) return this.#kernel.fill(address, length);
    if (this.#seed.take(this.#taken)) this.#reseed();
    return (this.#isSeeded ? this.#drbg : this.#kernel).fill(address, length);
  }

  close(): void {
    this.#drbg.close();
  }

  #reseed(): void {
    this.#drbg.reseed(this.#taken);
    this.#taken.fill(0);
    this.#isSeeded = true;
  }

  #forget(): void {
    // One that came and was not drawn from, too.
    if (this.#seed?.take(this.#taken)) this.#taken.fill(0);
    this.#drbg.reseed(nothing);
    this.#isSeeded = false;
  }
}
