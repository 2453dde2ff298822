import { copyMemory, dropPages, populate } from '../host/libc/memory.ts';
import { SharedRange } from '../host/mappings/mapping.ts';
import type { Closable } from '../host/ownership.ts';
import { pageSize } from './address.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';
import type { GuestMemory } from './guest-memory.ts';
import { lonePageCopier, type PageCopier } from './page-copy.ts';
import { WindowedBytes } from './windowed-bytes.ts';

/** What another thread of this process needs to read what is staged. Its memory stays valid as long as it is held. */
export interface SharedStaging {
  readonly bytes: SharedArrayBuffer;
  /** Where the first page begins in {@link bytes}. */
  readonly start: number;
  readonly capacity: number;
  /** As {@link StagingArea.numbers}. */
  readonly numbers: SharedArrayBuffer;
}

/**
 * Where dirty pages are copied while the guest is paused, so that it can run on while they are encoded and sent.
 *
 *     numbers  n0 n1 n2 ...      RAM page numbers, ascending
 *     bytes    [n0][n1][n2]...   one page each, without gaps
 *
 * Address space for all of RAM is taken at once, so that growing moves nothing: memory is used as far as pages were
 * ever staged, or {@link prepare}d for, until {@link trim}.
 */
export class StagingArea implements Closable {
  /** Most pages it can hold. */
  readonly capacity: number;
  /** The pages' numbers; the first {@link count} are valid. A page's number is its place in RAM without the hole. */
  readonly numbers: Uint32Array<SharedArrayBuffer>;
  readonly #range: SharedRange;
  readonly #bytes: WindowedBytes;
  readonly #address: number;
  #count = 0;

  /** @param capacity pages of RAM */
  constructor(capacity: number) {
    this.capacity = capacity;
    this.numbers = new Uint32Array(new SharedArrayBuffer(capacity * 4));
    this.#range = new SharedRange('staging area', capacity * pageSize);
    this.#address = this.#range.address;
    this.#bytes = WindowedBytes.ofShared(this.#range);
  }

  /** For another thread, which must not read it while pages are staged. */
  get shared(): SharedStaging {
    const { buffer: bytes, start } = this.#range;
    return { bytes, start, capacity: this.capacity, numbers: this.numbers.buffer };
  }

  /** Pages that are staged. */
  get count(): number {
    return this.#count;
  }

  /** Gives memory to the first `pages` pages now, so that no {@link copy} of up to as many waits for it. */
  prepare(pages: number): void {
    populate(this.#address, Math.min(pages, this.capacity) * pageSize);
  }

  /** Gives memory beyond the first `pages` pages back. What is staged there is gone. */
  trim(pages: number): void {
    if (pages >= this.capacity) return;
    dropPages(this.#address + pages * pageSize, (this.capacity - pages) * pageSize, 'staging area');
    this.#count = Math.min(this.#count, pages);
  }

  /**
   * Stages the pages marked in `dirty`, a bitmap for each region, in place of what was staged. This is what a checkpoint
   * stops the guest for. Hot path: adjacent pages are one copy.
   *
   * @throws whatever `copier` throws, and nothing is staged
   */
  copy(memory: GuestMemory, dirty: readonly DirtyBitmap[], copier: PageCopier = lonePageCopier): number {
    this.#count = 0;
    let count = 0;
    let ramAddress = 0;
    const numbers = this.numbers;
    for (let index = 0; index < dirty.length; index++) {
      const bitmap = dirty[index] as DirtyBitmap;
      const region = memory.regions[index];
      if (region === undefined) break;
      if (region.address === 0) throw new TypeError('this RAM is not mapped');
      // All regions lie in one mapping, as they do in RAM without the hole.
      ramAddress = region.address - region.offset;
      const firstNumber = region.offset / pageSize;
      for (let page = bitmap.nextMarked(0); page < bitmap.pages; ) {
        const end = bitmap.nextClean(page);
        while (page < end) numbers[count++] = firstNumber + page++;
        page = bitmap.nextMarked(page);
      }
    }
    copier.copy(ramAddress, this.#address, numbers, count);
    this.#count = count;
    return count;
  }

  /** Calls `visit` with each run of adjacent pages: their place here, the first one's number, how many. */
  forEachRun(visit: (place: number, firstNumber: number, pages: number) => void): void {
    const numbers = this.numbers;
    for (let place = 0; place < this.#count; ) {
      const first = numbers[place] as number;
      let pages = 1;
      while (place + pages < this.#count && numbers[place + pages] === first + pages) pages++;
      visit(place, first, pages);
      place += pages;
    }
  }

  /** The bytes of `pages` pages from the one at place `first` on. Valid until they are staged over. Up to 2 GiB. */
  slice(first: number, pages: number): Uint8Array {
    return this.#bytes.slice(first * pageSize, pages * pageSize);
  }

  /** Copies `pages` pages from the one at place `first` on to an address of this process. */
  copyOut(first: number, target: number, pages: number): void {
    if (!(first >= 0 && first + pages <= this.#count))
      throw new RangeError(`pages [${first}, +${pages}) are not staged`);
    copyMemory(target, this.#address + first * pageSize, pages * pageSize);
  }

  close(): void {
    this.#range.close();
  }
}
