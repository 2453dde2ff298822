import { createCipheriv } from 'node:crypto';
import { copyMemory, viewMemory } from '../../host/libc/memory.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import type { Closable } from '../../host/ownership.ts';
import { type RandomSource, seedBytes } from './random-source.ts';

const blockBytes = 4096;
const zeros = new Uint8Array(blockBytes);
/** Each key is used once. */
const firstCounter = new Uint8Array(16);

/**
 * A deterministic random bit generator: the same bytes for the same seed, and good for keys to who does not know it.
 *
 *     key --AES-256-CTR--> next key (32 bytes) | output (4064 bytes)
 *
 * Each key makes one block, whose first bytes are the key after it (fast key erasure). It is then gone, and so is what was given
 * out: who sees the generator's memory learns nothing of what came before. The output is one stream, however requests divide it.
 *
 * A block is made when the one before is used up: 63 requests of 64 bytes, as Linux makes them, allocate nothing, and one does.
 */
export class Drbg implements RandomSource, Closable {
  readonly #block = new AnonymousMapping('random bits', blockBytes);
  readonly #bytes = new Uint8Array(viewMemory(this.#block.address, blockBytes));
  readonly #key = new Uint8Array(seedBytes);
  /** Where in the block the output goes on. */
  #at = blockBytes;

  /** Forgets all that it was. @param seed of {@link seedBytes}, copied */
  reseed(seed: Uint8Array): void {
    this.#key.set(seed);
    this.#bytes.fill(0);
    this.#at = blockBytes;
  }

  fill(address: number, length: number): number {
    let filled = 0;
    while (filled < length) {
      if (this.#at === blockBytes) this.#makeBlock();
      const part = Math.min(length - filled, blockBytes - this.#at);
      copyMemory(address + filled, this.#block.address + this.#at, part);
      this.#bytes.fill(0, this.#at, this.#at + part);
      this.#at += part;
      filled += part;
    }
    return length;
  }

  close(): void {
    this.#block.close();
  }

  #makeBlock(): void {
    const cipher = createCipheriv('aes-256-ctr', this.#key, firstCounter);
    const stream = cipher.update(zeros);
    // Frees what the cipher made of the key now, and not when garbage is collected.
    cipher.final();
    this.#key.set(stream.subarray(0, seedBytes));
    this.#bytes.set(stream.subarray(seedBytes), seedBytes);
    stream.fill(0);
    this.#at = seedBytes;
  }
}
