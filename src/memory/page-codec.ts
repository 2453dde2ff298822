import { pageSize } from './address.ts';
import { bitsOf } from './dirty-bitmap.ts';

/**
 * Pages of RAM as bytes, for the wire and for files.
 *
 *     0            runs        u32   R
 *     4            raw pages   u32   D
 *     8            R runs, 8 bytes each, ascending, without overlap:
 *                    page      u32   first page, in RAM without the hole
 *                    kind      2 bits, the highest ones, then
 *                    pages     30 bits, not 0
 *     8 + 8 * R    D pages of 4096 bytes: those of all raw runs, in order
 *     then         for each page of all delta runs, in order, what differs from the reference that both sides have:
 *                    lines     u64   a bit for each 64 bytes of the page, the first the lowest one
 *                    bytes           64 for each line whose bit is set, in order
 *
 * All little-endian. Nothing follows.
 */

/** What a run of pages is. */
export const pageKind = {
  /** All bytes are 0. */
  zero: 0,
  /** Their bytes follow. */
  raw: 2,
  /** What differs from the reference follows. */
  delta: 3,
} as const;

type PageKind = (typeof pageKind)[keyof typeof pageKind];

const headerBytes = 8;
const runBytes = 8;
const kindShift = 30;
const pagesMask = 0x3fff_ffff;
/** Bytes that say which lines of a page follow. */
export const deltaHeadBytes = 8;
export const lineBytes = 64;
const lineWords = lineBytes / 4;
const linesOfHalf = 32;
/** A page that differs in more lines than that is sent whole. */
const mostLines = 48;
/** Of a page: less than the page, so that it takes no more room. */
const mostDeltaBytes = deltaHeadBytes + mostLines * lineBytes;

/** Bytes do not encode pages as this program does. `at` is the place of the fault. */
export class PageEncodingError extends Error {
  readonly code = 'PAGE_ENCODING';
  readonly at: number;

  constructor(message: string, at: number) {
    super(`encoded pages are damaged at byte ${at}: ${message}`);
    this.name = 'PageEncodingError';
    this.at = at;
  }
}

/** Where an encoder finds the pages that the other side has already. */
export interface ReferencePages {
  readonly words: Int32Array;
  /** Where the page begins in {@link words}, a whole page; less than 0 if there is none. */
  wordOf(page: number): number;
}

/** Pages to encode: ascending numbers, and their bytes, which begin at a multiple of four of their buffer. */
export interface PageBatch {
  readonly numbers: Uint32Array;
  readonly bytes: Uint8Array;
  /** `bytes` are RAM from this page on. Absent: they are the pages' own, one after the other. */
  readonly origin?: number;
}

/** Most bytes that `pages` pages take. */
export function maxEncodedBytes(pages: number): number {
  return headerBytes + pages * (runBytes + pageSize);
}

const zeros = new Uint8Array(pageSize);

/** Encodes batches of pages. Keep one: it holds what it needs between batches. */
export class PageEncoder {
  #kinds = new Uint8Array(0);
  /** Of delta pages: a bit for each line that differs, in two halves. */
  #low = new Uint32Array(0);
  #high = new Uint32Array(0);

  /**
   * Encodes `batch` into `target`, which has {@link maxEncodedBytes}; the bytes written. Hot path: each byte of a raw
   * page is read once to be judged and copied once, adjacent pages together. Bytes that change meanwhile are as they
   * were at some moment.
   *
   * @param reference pages that the other side has; those in it must not change meanwhile, nor those of the batch
   */
  encode(batch: PageBatch, target: Uint8Array, reference?: ReferencePages): number {
    const { numbers, bytes, origin } = batch;
    if (this.#kinds.length < numbers.length) this.#makeRoom(numbers.length * 2);
    const kinds = this.#kinds;
    const source = asBuffer(bytes);
    const words = reference === undefined ? undefined : wordsOf(bytes);
    let rawPages = 0;
    let runs = 0;
    for (let index = 0; index < numbers.length; index++) {
      const page = numbers[index] as number;
      const place = origin === undefined ? index : page - origin;
      let kind: PageKind = pageKind.raw;
      if (isZero(source, place * pageSize)) kind = pageKind.zero;
      else if (words !== undefined && reference !== undefined) {
        const at = reference.wordOf(page);
        if (at >= 0 && this.#compare(index, words, place * pageWords, reference.words, at)) kind = pageKind.delta;
      }
      if (kind === pageKind.raw) rawPages++;
      if (index === 0 || kind !== kinds[index - 1] || page !== (numbers[index - 1] as number) + 1) runs++;
      kinds[index] = kind;
    }
    const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
    view.setUint32(0, runs, true);
    view.setUint32(4, rawPages, true);
    this.#writeRuns(numbers, view);
    const end = this.#copyRaw(batch, target, headerBytes + runs * runBytes);
    return words === undefined ? end : this.#copyDeltas(batch, target, view, end);
  }

  #makeRoom(pages: number): void {
    this.#kinds = new Uint8Array(pages);
    this.#low = new Uint32Array(pages);
    this.#high = new Uint32Array(pages);
  }

  /** Notes which lines differ; false if these are so many that the page is better sent whole. Hot path. */
  #compare(index: number, words: Int32Array, at: number, reference: Int32Array, referenceAt: number): boolean {
    const low = differingLines(words, at, reference, referenceAt);
    const half = linesOfHalf * lineWords;
    const high = differingLines(words, at + half, reference, referenceAt + half);
    this.#low[index] = low;
    this.#high[index] = high;
    return bitsOf(low) + bitsOf(high) <= mostLines;
  }

  #writeRuns(numbers: Uint32Array, view: DataView): void {
    const kinds = this.#kinds;
    let at = headerBytes;
    for (let index = 0; index < numbers.length; ) {
      const first = index++;
      const start = numbers[first] as number;
      const kind = kinds[first] as number;
      while (index < numbers.length && kinds[index] === kind && numbers[index] === start + index - first) index++;
      view.setUint32(at, start, true);
      view.setUint32(at + 4, ((kind << kindShift) | (index - first)) >>> 0, true);
      at += runBytes;
    }
  }

  /** Raw pages whose bytes follow each other are one copy, wherever they are in RAM. */
  #copyRaw({ numbers, bytes, origin }: PageBatch, target: Uint8Array, at: number): number {
    const kinds = this.#kinds;
    const placeOf = (index: number): number => (origin === undefined ? index : (numbers[index] as number) - origin);
    let end = at;
    for (let index = 0; index < numbers.length; index++) {
      if (kinds[index] !== pageKind.raw) continue;
      const first = index;
      const place = placeOf(first);
      while (
        index + 1 < numbers.length &&
        kinds[index + 1] === pageKind.raw &&
        placeOf(index + 1) === place + index + 1 - first
      ) {
        index++;
      }
      const pages = index + 1 - first;
      target.set(bytes.subarray(place * pageSize, (place + pages) * pageSize), end);
      end += pages * pageSize;
    }
    return end;
  }

  /** Of each delta page, the lines that differ: adjacent ones are one copy. */
  #copyDeltas({ numbers, bytes, origin }: PageBatch, target: Uint8Array, view: DataView, from: number): number {
    let end = from;
    for (let index = 0; index < numbers.length; index++) {
      if (this.#kinds[index] !== pageKind.delta) continue;
      const page = (origin === undefined ? index : (numbers[index] as number) - origin) * pageSize;
      const low = this.#low[index] as number;
      const high = this.#high[index] as number;
      view.setUint32(end, low, true);
      view.setUint32(end + 4, high, true);
      end += deltaHeadBytes;
      for (let line = nextChanged(low, high, 0); line < pageLines; ) {
        const past = nextUnchanged(low, high, line);
        target.set(bytes.subarray(page + line * lineBytes, page + past * lineBytes), end);
        end += (past - line) * lineBytes;
        line = nextChanged(low, high, past);
      }
    }
    return end;
  }
}

const pageWords = pageSize / 4;

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** A bit for each of 32 lines that is not the same, the first the lowest one. Hot path. */
function differingLines(left: Int32Array, leftAt: number, right: Int32Array, rightAt: number): number {
  let lines = 0;
  for (let line = 0; line < linesOfHalf; line++) {
    const first = line * lineWords;
    for (let word = first; word < first + lineWords; word++) {
      if (left[leftAt + word] !== right[rightAt + word]) {
        lines |= 1 << line;
        break;
      }
    }
  }
  return lines >>> 0;
}

/** Lines of a page. */
export const pageLines = pageSize / lineBytes;

/** The first line from `line` on whose bit is set in the two halves of a page's; {@link pageLines} if there is none. */
export function nextChanged(low: number, high: number, line: number): number {
  let next = line;
  while (next < pageLines && !isChanged(low, high, next)) next++;
  return next;
}

/** The first line from `line` on whose bit is not set. */
export function nextUnchanged(low: number, high: number, line: number): number {
  let next = line;
  while (next < pageLines && isChanged(low, high, next)) next++;
  return next;
}

function isChanged(low: number, high: number, line: number): boolean {
  // A shift is by its lowest five bits.
  return (((line < linesOfHalf ? low : high) >>> line) & 1) === 1;
}

/** Takes runs of pages as a decoder finds them. What it is given is part of what is decoded, not a copy. */
export interface PageVisitor {
  zero(firstPage: number, pages: number): void;
  raw(firstPage: number, bytes: Uint8Array): void;
  /** What differs from the reference: which lines, in two halves, and their bytes. */
  delta(page: number, delta: Uint8Array): void;
}

/**
 * Decodes what may come from anyone, for RAM of `ramPages` pages. All of it is checked before `visitor` sees anything.
 *
 * @throws PageEncodingError
 */
export function decodePages(encoded: Uint8Array, ramPages: number, visitor: PageVisitor): void {
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const runs = checkPages(view, ramPages);
  let data = headerBytes + runs * runBytes;
  let delta = data + view.getUint32(4, true) * pageSize;
  for (let run = 0; run < runs; run++) {
    const at = headerBytes + run * runBytes;
    const page = view.getUint32(at, true);
    const word = view.getUint32(at + 4, true);
    const pages = word & pagesMask;
    switch (word >>> kindShift) {
      case pageKind.zero:
        visitor.zero(page, pages);
        break;
      case pageKind.raw:
        visitor.raw(page, encoded.subarray(data, data + pages * pageSize));
        data += pages * pageSize;
        break;
      case pageKind.delta:
        for (let index = 0; index < pages; index++) {
          const end = delta + deltaBytes(view, delta);
          visitor.delta(page + index, encoded.subarray(delta, end));
          delta = end;
        }
        break;
    }
  }
}

function deltaBytes(view: DataView, at: number): number {
  return deltaHeadBytes + (bitsOf(view.getUint32(at, true)) + bitsOf(view.getUint32(at + 4, true))) * lineBytes;
}

/** The number of runs, once everything about them is known to be right. */
function checkPages(view: DataView, ramPages: number): number {
  if (view.byteLength < headerBytes) throw new PageEncodingError('they are cut within their head', view.byteLength);
  const runs = view.getUint32(0, true);
  const dataPages = view.getUint32(4, true);
  const deltas = headerBytes + runs * runBytes + dataPages * pageSize;
  if (view.byteLength < deltas) {
    throw new PageEncodingError(`they should be ${deltas} bytes at least`, view.byteLength);
  }
  let end = 0;
  let rawPages = 0;
  let deltaPages = 0;
  for (let run = 0; run < runs; run++) {
    const at = headerBytes + run * runBytes;
    const page = view.getUint32(at, true);
    const word = view.getUint32(at + 4, true);
    const pages = word & pagesMask;
    const kind = word >>> kindShift;
    if (pages === 0) throw new PageEncodingError('a run of no pages', at);
    if (page < end) throw new PageEncodingError(`page ${page} comes after page ${end - 1}`, at);
    end = page + pages;
    if (end > ramPages) throw new PageEncodingError(`page ${end - 1} is outside of RAM, which has ${ramPages}`, at);
    if (kind === pageKind.raw) rawPages += pages;
    else if (kind === pageKind.delta) deltaPages += pages;
    else if (kind !== pageKind.zero) throw new PageEncodingError('a kind of page that is not known', at);
  }
  if (rawPages !== dataPages) {
    throw new PageEncodingError(`raw runs have ${rawPages} pages, the head says ${dataPages}`, 4);
  }
  checkDeltas(view, deltas, deltaPages);
  return runs;
}

/** So many differences, each whole, and nothing behind them. */
function checkDeltas(view: DataView, from: number, pages: number): void {
  const length = view.byteLength;
  let at = from;
  for (let index = 0; index < pages; index++) {
    if (length - at < deltaHeadBytes) throw new PageEncodingError('a difference is cut within its head', length);
    const bytes = deltaBytes(view, at);
    if (bytes > mostDeltaBytes) throw new PageEncodingError('a difference is larger than its page', at);
    if (length - at < bytes) throw new PageEncodingError(`a difference should be ${bytes} bytes`, length);
    at += bytes;
  }
  if (length > at) throw new PageEncodingError(`${length - at} bytes are left over`, at);
}

/**
 * True if the page at `offset` is all zeros. Hot path. Most pages that are not show it in one of a few places; the others
 * are compared by memcmp, which beats every loop here.
 */
export function isZero(bytes: Buffer, offset: number): boolean {
  for (let at = offset; at < offset + pageSize; at += 520) if (bytes[at] !== 0) return false;
  return bytes.compare(zeros, 0, pageSize, offset, offset + pageSize) === 0;
}

/** The same bytes as a Buffer, whose `compare` takes ranges and allocates nothing. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
