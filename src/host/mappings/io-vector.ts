import { viewMemory } from '../libc/memory.ts';
import type { Closable } from '../ownership.ts';
import { LowMapping } from './mapping.ts';

/** struct iovec: base 8 bytes, length 8 bytes. */
const entryBytes = 16;
/** Most entries that the kernel takes in one call (UIO_MAXIOV). */
export const maxIoVectorEntries = 1024;

/**
 * Memory ranges for one preadv, pwritev, readv or writev: an array of struct iovec at a fixed address, refilled for
 * each use without allocation. Ranges are host-virtual; whoever adds one has checked it.
 */
export class IoVector {
  /** Where the array lies, for the system call. */
  readonly address: number;
  readonly capacity: number;
  /**
   * Where in a file the first range begins, for calls that take a place. It stands here because an argument beyond 2^31
   * is a number on the heap, for each call that V8 does not inline.
   */
  offset = 0;
  readonly #words: Uint32Array;
  #count = 0;
  #bytes = 0;

  constructor(address: number, capacity: number) {
    this.address = address;
    this.capacity = capacity;
    this.#words = new Uint32Array(viewMemory(address, capacity * entryBytes));
  }

  get count(): number {
    return this.#count;
  }

  /** Sum of the lengths. */
  get bytes(): number {
    return this.#bytes;
  }

  clear(): void {
    this.#count = 0;
    this.#bytes = 0;
  }

  /** Appends a range; false if the vector is full. Hot path. */
  add(address: number, length: number): boolean {
    return this.addSplit(address | 0, Math.floor(address / 0x1_0000_0000), length);
  }

  /**
   * As {@link add}, with the address in two halves of 32 bits, of which the lower one may have any sign. An address does
   * not fit into a small integer, and a call that V8 does not inline would allocate a number for it. Hot path.
   */
  addSplit(low: number, high: number, length: number): boolean {
    if (this.#count === this.capacity) return false;
    const at = this.#count * 4;
    this.#words[at] = low; // stored modulo 2^32
    this.#words[at + 1] = high;
    this.#words[at + 2] = length;
    this.#words[at + 3] = length >= 0x1_0000_0000 ? Math.floor(length / 0x1_0000_0000) : 0;
    this.#count++;
    this.#bytes += length;
    return true;
  }

  /**
   * As {@link add}, of the range `offset` behind an address. That address is looked up here, for V8 allocates to hand a
   * number of its size to a function or back. Hot path.
   */
  addBehind(base: { readonly address: number }, offset: number, length: number): boolean {
    return this.add(base.address + offset, length);
  }

  /** Takes the range that was added last off again. */
  dropLast(): void {
    this.#bytes -= this.lengthOf(this.#count - 1);
    this.#count--;
  }

  /** Appends [offset, offset + length) of what `source` names; false if there is no room. Hot path. */
  addPart(source: IoVector, offset: number, length: number): boolean {
    let skip = offset;
    let left = length;
    for (let index = 0; index < source.count && left > 0; index++) {
      const size = source.lengthOf(index);
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const part = Math.min(size - skip, left);
      if (!this.add(source.addressOf(index) + skip, part)) return false;
      left -= part;
      skip = 0;
    }
    return left === 0;
  }

  /** Address of range `index`. */
  addressOf(index: number): number {
    return this.#number(index * 4);
  }

  /** Length of range `index`. */
  lengthOf(index: number): number {
    return this.#number(index * 4 + 2);
  }

  /** Takes the first `bytes` off, after a call that did only part of the work. */
  dropFront(bytes: number): void {
    let drop = Math.min(bytes, this.#bytes);
    this.#bytes -= drop;
    let first = 0;
    while (first < this.#count && this.lengthOf(first) <= drop) {
      drop -= this.lengthOf(first);
      first++;
    }
    if (first > 0) {
      this.#words.copyWithin(0, first * 4, this.#count * 4);
      this.#count -= first;
    }
    if (drop > 0) {
      const count = this.#count;
      const bytesLeft = this.#bytes;
      const address = this.addressOf(0) + drop;
      const length = this.lengthOf(0) - drop;
      this.#count = 0;
      this.add(address, length);
      this.#count = count;
      this.#bytes = bytesLeft;
    }
  }

  #number(word: number): number {
    return (this.#words[word] as number) + (this.#words[word + 1] as number) * 0x1_0000_0000;
  }
}

/** Room for several vectors of `capacity` ranges each, in one mapping. */
export class IoVectors implements Closable {
  readonly vectors: readonly IoVector[];
  readonly #mapping: LowMapping;

  constructor(count: number, capacity: number) {
    this.#mapping = new LowMapping('iovec', count * capacity * entryBytes);
    this.vectors = Array.from(
      { length: count },
      (_, index) => new IoVector(this.#mapping.address + index * capacity * entryBytes, capacity),
    );
  }

  close(): void {
    this.#mapping.close();
  }
}
