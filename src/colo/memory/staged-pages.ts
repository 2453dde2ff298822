import { copyMemory, dropPages, fillMemory } from '../../host/libc/memory.ts';
import { SharedRange } from '../../host/mappings/mapping.ts';
import type { Closable } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { deltaHeadBytes, lineBytes, nextChanged, nextUnchanged, pageLines } from '../../memory/page-codec.ts';
import { WindowedBytes } from '../../memory/windowed-bytes.ts';
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
 *     delta             pages whose slot has what differs from the checkpoint before (page-codec.ts), not their bytes
 *
 * A difference is to the checkpoint before, whatever of the page came since.
 */
export class StagedPages implements Closable {
  readonly #slots: Uint32Array;
  readonly #pages: Uint32Array;
  readonly #zero: DirtyBitmap;
  readonly #delta: DirtyBitmap;
  readonly #range: SharedRange;
  readonly #bytes: WindowedBytes;
  #count = 0;
  #zeros = 0;
  #deltas = 0;
  /** Slots that have memory. */
  #used = 0;

  /** @param ramPages most pages that there are */
  constructor(ramPages: number) {
    // Shared memory, for it costs nothing until it is touched.
    this.#slots = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    this.#pages = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    this.#zero = new DirtyBitmap(ramPages);
    this.#delta = new DirtyBitmap(ramPages);
    this.#range = new SharedRange('staged pages', ramPages * pageSize);
    this.#bytes = WindowedBytes.ofShared(this.#range);
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
    if (this.#zeros === 0 && this.#deltas === 0) return;
    for (let page = firstPage; page < firstPage + pages; page++) this.#isNothingElse(page);
  }

  /** Takes what differs in a page from the checkpoint before, which takes less room than the page; it is copied. Hot path. */
  delta(page: number, delta: Uint8Array): void {
    let slot = this.#slots[page] as number;
    if (slot === 0) {
      this.#pages[this.#count] = page;
      slot = ++this.#count;
      this.#slots[page] = slot;
    }
    if (this.#zeros > 0 || this.#deltas > 0) this.#isNothingElse(page);
    this.#delta.mark(page);
    this.#deltas++;
    this.#fill(slot - 1, delta);
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
    const isRaw = (page: number): boolean =>
      !(this.#zeros > 0 && this.#zero.has(page)) && !(this.#deltas > 0 && this.#delta.has(page));
    for (let place = 0; place < this.#count; ) {
      const first = this.#pages[place] as number;
      if (!isRaw(first)) {
        if (this.#delta.has(first) && !this.#zero.has(first)) {
          this.#change(first, place, ram);
          yield;
        }
        place++;
        continue;
      }
      let run = 1;
      while (
        run < chunkPages &&
        place + run < this.#count &&
        this.#pages[place + run] === first + run &&
        isRaw(first + run)
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
    if (this.#deltas > 0) this.#delta.clear();
    this.#zeros = 0;
    this.#deltas = 0;
    if (this.#used <= keptPages) return;
    const { address } = this.#range;
    dropPages(address + keptPages * pageSize, (this.#used - keptPages) * pageSize, 'staged pages');
    this.#used = keptPages;
  }

  close(): void {
    this.#range.close();
  }

  /** Has a page of RAM be what it was, and what differs. */
  #change(page: number, place: number, ram: TargetRam): void {
    const target = ram.addressFor(page, 1);
    const source = this.#range.address + place * pageSize;
    const delta = this.#bytes.slice(place * pageSize, deltaHeadBytes);
    const low = delta.readUInt32LE(0);
    const high = delta.readUInt32LE(4);
    let at = source + deltaHeadBytes;
    for (let line = nextChanged(low, high, 0); line < pageLines; ) {
      const past = nextUnchanged(low, high, line);
      const length = (past - line) * lineBytes;
      copyMemory(target + line * lineBytes, at, length);
      at += length;
      line = nextChanged(low, high, past);
    }
  }

  /** What came of a page does not count any more. */
  #isNothingElse(page: number): void {
    if (this.#zero.has(page)) {
      this.#zero.unmark(page);
      this.#zeros--;
    }
    if (this.#delta.has(page)) {
      this.#delta.unmark(page);
      this.#deltas--;
    }
  }

  #fill(place: number, bytes: Uint8Array): void {
    fillMemory(this.#range.address + place * pageSize, bytes);
  }
}
