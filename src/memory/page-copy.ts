import { addressOf, copyMemory } from '../host/libc/memory.ts';
import { pageSize } from './address.ts';

/** Copies pages of RAM that lie anywhere to where they lie one behind the other. */
export interface PageCopier {
  /**
   * Copies page `numbers[place]`, counted from `source`, to page `place` from `target`, for each place below `count`. Both
   * are addresses of this process, and `numbers` ascend. On return all is copied. Hot path.
   */
  copy(source: number, target: number, numbers: Uint32Array<SharedArrayBuffer>, count: number): void;
}

/** A part that a thread takes, in pages: some 15 us, for which another one may have to wait. */
const partPages = 32;
/** Looks, a few ns each, at whether others are done before it is waited for: what they have begun takes no longer. */
const looks = 5000;

const ticketCell = 0;
const partsCell = 1;
const doneCell = 2;
const cellBytes = 16;
const sourceField = 0;
const targetField = 1;
const numbersField = 2;
const countField = 3;
const partField = 4;
const fieldCount = 5;

const partMask = 0xffff;
/** No part has this number: nothing can be taken. */
const noPart = partMask;

/**
 * A copy of pages that threads share, each of which takes the next part when it has time.
 *
 *     ticket   bits 0-15: the next part to take     bits 16-31: number of the copy, counted up and around
 *     parts    how many there are                   done: how many have been copied
 *     fields   source, target, address of the numbers, count, pages of a part
 *
 * A part is taken by counting the ticket up, if nobody did meanwhile. While a copy is made ready, its ticket names no part. So
 * whoever looked at an earlier copy, and was held up, takes nothing of a later one by what it knows of the earlier.
 */
export class SharedPageCopy {
  readonly storage: SharedArrayBuffer;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #fields: Float64Array<SharedArrayBuffer>;
  readonly #mostParts: number;
  /** This thread's own: numbers of the pages that it is about to copy. Made when it first copies: most threads start and never do. */
  #numbers: Uint32Array<SharedArrayBuffer> | undefined;
  #numbersAddress = 0;

  /** @param mostParts of a copy; one of very many pages has longer ones */
  constructor(storage = new SharedArrayBuffer(cellBytes + 8 * fieldCount), mostParts = 4096) {
    this.storage = storage;
    this.#mostParts = mostParts;
    this.#cells = new Int32Array(storage, 0, cellBytes / 4);
    this.#fields = new Float64Array(storage, cellBytes, fieldCount);
  }

  /**
   * Has the copy be there for all threads to take parts of. The one before must be done. Parameters as of
   * {@link PageCopier.copy}, but where the numbers lie.
   */
  begin(source: number, target: number, numbersAddress: number, count: number): void {
    const number = ((Atomics.load(this.#cells, ticketCell) >>> 16) + 1) << 16;
    Atomics.store(this.#cells, ticketCell, number | noPart);
    this.#fields[sourceField] = source;
    this.#fields[targetField] = target;
    this.#fields[numbersField] = numbersAddress;
    this.#fields[countField] = count;
    const size = Math.max(partPages, Math.ceil(count / this.#mostParts));
    this.#fields[partField] = size;
    Atomics.store(this.#cells, partsCell, Math.ceil(count / size));
    Atomics.store(this.#cells, doneCell, 0);
    Atomics.store(this.#cells, ticketCell, number);
  }

  /** Takes parts and copies them until none is left to take; how many. Any thread, at any time. Hot path. */
  takeParts(): number {
    const cells = this.#cells;
    let taken = 0;
    for (;;) {
      const ticket = Atomics.load(cells, ticketCell);
      const part = ticket & partMask;
      const parts = Atomics.load(cells, partsCell);
      if (part >= parts) return taken;
      // What is read here is of this ticket's copy if it can still be counted up, for then that copy is not done.
      const source = this.#fields[sourceField] as number;
      const target = this.#fields[targetField] as number;
      const numbers = this.#fields[numbersField] as number;
      const count = this.#fields[countField] as number;
      const size = this.#fields[partField] as number;
      if (Atomics.compareExchange(cells, ticketCell, ticket, ticket + 1) !== ticket) continue;
      taken++;
      this.#copy(source, target, numbers, part * size, Math.min((part + 1) * size, count));
      if (Atomics.add(cells, doneCell, 1) + 1 === parts) Atomics.notify(cells, doneCell);
    }
  }

  /** Blocks until all parts are copied, at most `timeoutMs`; false if they are not. */
  waitUntilDone(timeoutMs: number): boolean {
    const parts = Atomics.load(this.#cells, partsCell);
    for (let look = 0; look < looks; look++) if (Atomics.load(this.#cells, doneCell) === parts) return true;
    const done = Atomics.load(this.#cells, doneCell);
    // What wakes it is the last part.
    if (done !== parts) Atomics.wait(this.#cells, doneCell, done, timeoutMs);
    return Atomics.load(this.#cells, doneCell) === parts;
  }

  #copy(source: number, target: number, numbersAddress: number, first: number, end: number): void {
    const numbers = this.#numbers ?? this.#makeNumbers();
    for (let place = first; place < end; ) {
      const pages = Math.min(partPages, end - place);
      copyMemory(this.#numbersAddress, numbersAddress + 4 * place, 4 * pages);
      copyRuns(source, target + place * pageSize, numbers, pages);
      place += pages;
    }
  }

  #makeNumbers(): Uint32Array<SharedArrayBuffer> {
    const numbers = new Uint32Array(new SharedArrayBuffer(4 * partPages));
    this.#numbersAddress = addressOf(new Uint8Array(numbers.buffer));
    this.#numbers = numbers;
    return numbers;
  }
}

/** As {@link PageCopier.copy}: adjacent pages are one copy. Hot path. */
export function copyRuns(source: number, target: number, numbers: Uint32Array, count: number): void {
  for (let place = 0; place < count; ) {
    const first = numbers[place] as number;
    let pages = 1;
    while (place + pages < count && numbers[place + pages] === first + pages) pages++;
    copyMemory(target + place * pageSize, source + first * pageSize, pages * pageSize);
    place += pages;
  }
}

/** Copies all by itself. */
export const lonePageCopier: PageCopier = { copy: copyRuns };
