import { pageSize } from './address.ts';

/** A shared word: 1 while writes are to be recorded. */
export type TrackingCell = Int32Array<SharedArrayBuffer>;

/**
 * One bit a page, shared by every thread that writes guest memory.
 *
 *     word w, bit b  <=>  page 32 * w + b of one RAM region
 *
 * Marking is atomic, so threads need no lock. The words lie in KVM's own order (little-endian, bit 0
 * first), padded to 64 bits as KVM_GET_DIRTY_LOG requires.
 */
export class DirtyBitmap {
  readonly pages: number;
  readonly words: Int32Array<SharedArrayBuffer>;

  /** A bitmap over `pages` pages; `storage` joins one made by another thread. */
  constructor(pages: number, storage?: SharedArrayBuffer) {
    const bytes = Math.ceil(pages / 64) * 8;
    if (storage !== undefined && storage.byteLength !== bytes) {
      throw new RangeError(`a bitmap of ${pages} pages takes ${bytes} bytes, not ${storage.byteLength}`);
    }
    this.pages = pages;
    this.words = new Int32Array(storage ?? new SharedArrayBuffer(bytes));
  }

  get storage(): SharedArrayBuffer {
    return this.words.buffer;
  }

  /** Marks every page that [offset, offset + length) touches. Hot path: no allocation. */
  markBytes(offset: number, length: number): void {
    if (length === 0) return;
    const last = Math.floor((offset + length - 1) / pageSize);
    for (let page = Math.floor(offset / pageSize); page <= last; page++) {
      const mask = 1 << (page & 31);
      const word = page >>> 5;
      // A plain look first: most writes hit a page that is marked already, and an atomic costs 20 times more.
      if (((this.words[word] as number) & mask) === 0) Atomics.or(this.words, word, mask);
    }
  }

  has(page: number): boolean {
    return (((this.words[page >>> 5] ?? 0) >>> (page & 31)) & 1) === 1;
  }

  /** Moves all marks into `target` (united with what is there) and leaves this bitmap empty. */
  drainInto(target: DirtyBitmap): void {
    for (let word = 0; word < this.words.length; word++) {
      if (this.words[word] !== 0) Atomics.or(target.words, word, Atomics.exchange(this.words, word, 0));
    }
  }

  /** Adds the marks of a bitmap in KVM's format. */
  unite(bitmap: Uint32Array): void {
    for (let word = 0; word < this.words.length; word++) {
      const bits = bitmap[word] as number;
      if (bits !== 0) Atomics.or(this.words, word, bits);
    }
  }

  clear(): void {
    this.words.fill(0);
  }

  get count(): number {
    let pages = 0;
    for (const word of this.words) {
      for (let rest = word >>> 0; rest !== 0; rest = (rest & (rest - 1)) >>> 0) pages++;
    }
    return pages;
  }

  /** Calls `visit` with every marked page, in order. */
  forEach(visit: (page: number) => void): void {
    for (let word = 0; word < this.words.length; word++) {
      for (let rest = (this.words[word] as number) >>> 0; rest !== 0; rest = (rest & (rest - 1)) >>> 0) {
        visit(word * 32 + 31 - Math.clz32(rest & -rest));
      }
    }
  }
}
