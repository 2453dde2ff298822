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
    for (let page = Math.floor(offset / pageSize); page <= last; page++) this.mark(page);
  }

  /** Marks one page. Hot path: no allocation. */
  mark(page: number): void {
    // Not only where there is no mark yet. A plain look may come before the write of the page, which a processor keeps back
    // for a while; a collector that takes the old mark in between would then copy the page as it was, and nobody mark it again.
    Atomics.or(this.words, page >>> 5, 1 << (page & 31));
  }

  /**
   * Takes the mark of one page, so that whoever reads the page after this misses nothing: a write that is not seen then is
   * marked later. Hot path.
   */
  unmark(page: number): void {
    Atomics.and(this.words, page >>> 5, ~(1 << (page & 31)));
  }

  has(page: number): boolean {
    return (((this.words[page >>> 5] ?? 0) >>> (page & 31)) & 1) === 1;
  }

  /** Moves all marks into `target` (united with what is there) and leaves this bitmap empty. Hot path. */
  drainInto(target: DirtyBitmap): void {
    const words = this.words;
    for (let word = nextMarkedWord(words, 0); word < words.length; word = nextMarkedWord(words, word + 1)) {
      Atomics.or(target.words, word, Atomics.exchange(words, word, 0));
    }
  }

  /** Adds the marks of another bitmap of as many pages. Hot path. */
  unite(other: DirtyBitmap): void {
    const words = other.words;
    for (let word = nextMarkedWord(words, 0); word < words.length; word = nextMarkedWord(words, word + 1)) {
      Atomics.or(this.words, word, words[word] as number);
    }
  }

  /** Marks every page. */
  markAll(): void {
    this.markBytes(0, this.pages * pageSize);
  }

  clear(): void {
    this.words.fill(0);
  }

  get count(): number {
    let pages = 0;
    const words = this.words;
    for (let word = nextMarkedWord(words, 0); word < words.length; word = nextMarkedWord(words, word + 1)) {
      pages += bitsOf(words[word] as number);
    }
    return pages;
  }

  /** The first page from `from` on that is marked, or {@link pages}. Hot path. */
  nextMarked(from: number): number {
    if (from >= this.pages) return this.pages;
    let word = from >>> 5;
    let rest = (this.words[word] as number) & (-1 << (from & 31));
    if (rest === 0) {
      word = nextMarkedWord(this.words, word + 1);
      if (word >= this.words.length) return this.pages;
      rest = this.words[word] as number;
    }
    return Math.min(word * 32 + 31 - Math.clz32(rest & -rest), this.pages);
  }

  /** The first page from `from` on that is not marked, or {@link pages}. Hot path. */
  nextClean(from: number): number {
    let word = from >>> 5;
    let clean = ~(this.words[word] as number) & (-1 << (from & 31));
    while (clean === 0 && ++word < this.words.length) clean = ~(this.words[word] as number);
    if (clean === 0) return this.pages;
    return Math.min(word * 32 + 31 - Math.clz32(clean & -clean), this.pages);
  }

  /** Calls `visit` with every run of marked pages, in order. */
  forEachRun(visit: (page: number, pages: number) => void): void {
    for (let page = this.nextMarked(0); page < this.pages; ) {
      const end = this.nextClean(page);
      visit(page, end - page);
      page = this.nextMarked(end);
    }
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

/** The first word from `from` on that has a mark, or the number of words. Most are empty: eight are looked at at once. */
export function nextMarkedWord(words: Int32Array, from: number): number {
  const end = words.length;
  let word = from;
  while (word < end) {
    if (words[word] !== 0) return word;
    word++;
    while (word + 8 <= end) {
      const some =
        at(words, word) |
        at(words, word + 1) |
        at(words, word + 2) |
        at(words, word + 3) |
        at(words, word + 4) |
        at(words, word + 5) |
        at(words, word + 6) |
        at(words, word + 7);
      if (some !== 0) break;
      word += 8;
    }
  }
  return end;
}

function at(words: Int32Array, word: number): number {
  return words[word] as number;
}

/** Set bits of 32, counted in pairs, fours and bytes. */
export function bitsOf(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const fours = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
