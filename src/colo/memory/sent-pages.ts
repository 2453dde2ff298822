import { pageSize } from '../../memory/address.ts';
import type { PageBatch, ReferencePages } from '../../memory/page-codec.ts';

const pageWords = pageSize / 4;

/**
 * Pages as the last checkpoint has them on the other side, as far as there is room: a guest writes to the same pages again and again,
 * and little in each, so that of most pages only what differs from these needs to be sent. When there is no room, the page that
 * was taken longest ago makes some.
 *
 *     slot of page      0: none; else 1 + its place
 *     words             [place 0][place 1]...
 */
export class SentPages implements ReferencePages {
  readonly words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #slots: Uint32Array;
  readonly #pages: Uint32Array;
  readonly #capacity: number;
  /** Where the next page goes; all places before it were used, or all are. */
  #next = 0;
  #isFull = false;

  /**
   * @param ramPages pages of RAM
   * @param capacity most pages that are kept; their memory is used as they come
   */
  constructor(ramPages: number, capacity: number) {
    this.#capacity = capacity;
    // Shared memory, for it costs nothing until it is touched.
    this.words = new Int32Array(new SharedArrayBuffer(capacity * pageSize));
    this.#bytes = new Uint8Array(this.words.buffer);
    this.#slots = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    this.#pages = new Uint32Array(capacity);
  }

  wordOf(page: number): number {
    return ((this.#slots[page] as number) - 1) * pageWords;
  }

  /** The other side will have these. Hot path. */
  keep({ numbers, bytes, origin }: PageBatch): void {
    for (let index = 0; index < numbers.length; index++) {
      const page = numbers[index] as number;
      const from = (origin === undefined ? index : page - origin) * pageSize;
      this.#bytes.set(bytes.subarray(from, from + pageSize), this.#placeFor(page) * pageSize);
    }
  }

  /** What the other side will have of these is not known here. */
  forget(numbers: Uint32Array): void {
    for (let index = 0; index < numbers.length; index++) {
      const page = numbers[index] as number;
      const slot = this.#slots[page] as number;
      if (slot === 0) continue;
      this.#slots[page] = 0;
      this.#pages[slot - 1] = nobody;
    }
  }

  #placeFor(page: number): number {
    const slot = this.#slots[page] as number;
    if (slot !== 0) return slot - 1;
    const place = this.#next;
    const before = this.#pages[place] as number;
    if (this.#isFull && before !== nobody) this.#slots[before] = 0;
    this.#pages[place] = page;
    this.#slots[page] = place + 1;
    this.#next = place + 1;
    if (this.#next === this.#capacity) {
      this.#next = 0;
      this.#isFull = true;
    }
    return place;
  }
}

/** A place whose page was forgotten. No page has this number. */
const nobody = 0xffff_ffff;
