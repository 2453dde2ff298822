import { copyMemory, viewMemory } from '../host/libc/memory.ts';
import { type IoVector, IoVectors } from '../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../host/mappings/mapping.ts';
import { type Closable, Owner } from '../host/ownership.ts';

/** Memory of ours, aligned to a page, with a vector to name it in. */
export interface Scratch {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly data: IoVector;
}

/** Whoever needs scratch memory. Called once it is there: at once, or when someone gives some back. */
export interface ScratchUser {
  scratchReady(scratch: Scratch): void;
}

const scratchCount = 4;
const scratchBytes = 256 * 1024;

/** Scratch memory for data that the kernel cannot take from where it lies. Bounded: users wait in line. */
export class ScratchPool implements Closable {
  readonly #owner = new Owner();
  readonly #free: Scratch[] = [];
  readonly #waiting: ScratchUser[] = [];

  constructor() {
    try {
      const mapping = this.#owner.own(new AnonymousMapping('scratch', scratchCount * scratchBytes));
      const { vectors } = this.#owner.own(new IoVectors(scratchCount, 1));
      for (const [index, data] of vectors.entries()) {
        const address = mapping.address + index * scratchBytes;
        this.#free.push({ address, bytes: new Uint8Array(viewMemory(address, scratchBytes)), data });
      }
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  take(user: ScratchUser): void {
    const scratch = this.#free.pop();
    if (scratch === undefined) this.#waiting.push(user);
    else user.scratchReady(scratch);
  }

  give(scratch: Scratch): void {
    const user = this.#waiting.shift();
    if (user === undefined) this.#free.push(scratch);
    else user.scratchReady(scratch);
  }

  close(): void {
    this.#owner.close();
  }
}

/** Copies the first `length` bytes of `data` to `address`. */
export function gather(address: number, data: IoVector, length: number): void {
  let copied = 0;
  for (let index = 0; copied < length; index++) {
    const part = Math.min(data.lengthOf(index), length - copied);
    copyMemory(address + copied, data.addressOf(index), part);
    copied += part;
  }
}

/** Copies `length` bytes from `address` to the first bytes of `data`. */
export function scatter(data: IoVector, address: number, length: number): void {
  let copied = 0;
  for (let index = 0; copied < length; index++) {
    const part = Math.min(data.lengthOf(index), length - copied);
    copyMemory(data.addressOf(index), address + copied, part);
    copied += part;
  }
}
