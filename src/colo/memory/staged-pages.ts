import { copyMemory, dropPages, fillMemory } from '../../host/libc.ts';
import { SharedRange } from '../../host/mapping.ts';
import type { Closable } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { TargetRam } from './target-ram.ts';

/** Pages that go into RAM before the work may be interrupted. */
const chunkPages = 256;

/**
 * Pages of a checkpoint that is not whole yet, by number: of a page that comes again the later one counts. Never more than RAM
 * has, however often they come.
 *
 *     slot of page      0: none; else 1 + its place among the bytes
 *     bytes             [place 0][place 1]...    as the pages came first
 *     zero              pages that are zeros, whatever lies in their slot
 */
export class StagedPages implements Closable {
  readonly #slots: Uint32Array;
  readonly #pages: Uint32Array;
  readonly #zero: DirtyBitmap;
  readonly #range: SharedRange;
  #count = 0;
  #zeros = 0;
  /** Slots that have memory. */
  #used = 0;

  /** @param ramPages most pages that there are */
  constructor(ramPages: number) {
    // Shared memory, for it costs nothing until it is touched.
    this.#slots = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    this.#pages = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    this.#zero = new DirtyBitmap(ramPages);
    this.#range = new SharedRange('staged pages', ramPages * pageSize);
  }

  /** Takes adjacent pages; their bytes are copied. Hot path: pages that come for the first time are one copy. */
  raw(firstPage: number, bytes: Uint8Array): void {
    const pages = bytes.length / pageSize;
    for (let done = 0; done < pages; ) {
      const slot = this.#slots[firstPage + done] as number;
      let run = 1;
      if (slot === 0) {
        while (done + run < pages && this.#slots[firstPage + done + run] === 0) run++;
        for (let index = 0; index < run; index++) {
          this.#pages[this.#count] = firstPage + done + index;
          this.#slots[firstPage + done + index] = ++this.#count;
        }
        this.#fill(this.#count - run, bytes.subarray(done * pageSize, (done + run) * pageSize));
      } else {
        this.#fill(slot - 1, bytes.subarray(done * pageSize, (done + 1) * pageSize));
      }
      done += run;
    }
    if (this.#zeros === 0) return;
    for (let page = firstPage; page < firstPage + pages; page++) {
      if (!this.#zero.has(page)) continue;
      this.#zero.unmark(page);
      this.#zeros--;
    }
  }

  /** Takes adjacent pages of zeros. */
  zero(firstPage: number, pages: number): void {
    for (let page = firstPage; page < firstPage + pages; page++) {
      if (this.#zero.has(page)) continue;
      this.#zero.mark(page);
      this.#zeros++;
    }
  }

  /** Puts all pages into RAM; yields now and then. They stay staged. */
  *copyInto(ram: TargetRam): Generator<undefined> {
    for (let place = 0; place < this.#count; ) {
      const first = this.#pages[place] as number;
      if (this.#zeros > 0 && this.#zero.has(first)) {
        place++;
        continue;
      }
      let run = 1;
      while (
        run < chunkPages &&
        place + run < this.#count &&
        this.#pages[place + run] === first + run &&
        !(this.#zeros > 0 && this.#zero.has(first + run))
      ) {
        run++;
      }
      copyMemory(ram.addressFor(first, run), this.#range.address + place * pageSize, run * pageSize);
      place += run;
      yield;
    }
    if (this.#zeros === 0) return;
    for (let page = this.#zero.nextMarked(0); page < this.#zero.pages; ) {
      const end = Math.min(this.#zero.nextClean(page), page + chunkPages);
      ram.zero(page, end - page);
      page = this.#zero.nextMarked(end);
      yield;
    }
  }

  /** Forgets all pages. @param keptPages memory for so many stays */
  clear(keptPages: number): void {
    for (let place = 0; place < this.#count; place++) this.#slots[this.#pages[place] as number] = 0;
    this.#used = Math.max(this.#used, this.#count);
    this.#count = 0;
    if (this.#zeros > 0) this.#zero.clear();
    this.#zeros = 0;
    if (this.#used <= keptPages) return;
    const { address } = this.#range;
    dropPages(address + keptPages * pageSize, (this.#used - keptPages) * pageSize, 'staged pages');
    this.#used = keptPages;
  }

  close(): void {
    this.#range.close();
  }

  #fill(place: number, bytes: Uint8Array): void {
    fillMemory(this.#range.address + place * pageSize, bytes);
  }
}
