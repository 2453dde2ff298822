import { pageSize } from './address.ts';

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
 *
 * All little-endian. Nothing follows.
 */

/** What a run of pages is. */
export const pageKind = {
  /** All bytes are 0. */
  zero: 0,
  /** As in the reference that both sides have. */
  unchanged: 1,
  /** Their bytes follow. */
  raw: 2,
  /** Kept for differences to the reference; not used yet, and refused. */
  delta: 3,
} as const;

type PageKind = (typeof pageKind)[keyof typeof pageKind];

const headerBytes = 8;
const runBytes = 8;
const kindShift = 30;
const pagesMask = 0x3fff_ffff;

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
  readonly bytes: Uint8Array;
  /** Where the page begins in {@link bytes}, or -1 if there is none. */
  offsetOf(page: number): number;
}

/** Pages to encode: ascending numbers, and their bytes. */
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

  /**
   * Encodes `batch` into `target`, which has {@link maxEncodedBytes}; the bytes written. Hot path: each byte of a raw
   * page is read once to be judged and copied once, adjacent pages together.
   */
  encode(batch: PageBatch, target: Uint8Array, reference?: ReferencePages): number {
    const { numbers, bytes, origin } = batch;
    if (this.#kinds.length < numbers.length) this.#kinds = new Uint8Array(numbers.length * 2);
    const kinds = this.#kinds;
    const source = asBuffer(bytes);
    const referenceBytes = reference === undefined ? undefined : asBuffer(reference.bytes);
    let rawPages = 0;
    let runs = 0;
    for (let index = 0; index < numbers.length; index++) {
      const page = numbers[index] as number;
      const offset = (origin === undefined ? index : page - origin) * pageSize;
      let kind: PageKind = pageKind.raw;
      if (isZero(source, offset)) kind = pageKind.zero;
      else if (referenceBytes !== undefined && reference !== undefined) {
        const at = reference.offsetOf(page);
        if (at >= 0 && source.compare(referenceBytes, at, at + pageSize, offset, offset + pageSize) === 0) {
          kind = pageKind.unchanged;
        }
      }
      if (kind === pageKind.raw) rawPages++;
      if (index === 0 || kind !== kinds[index - 1] || page !== (numbers[index - 1] as number) + 1) runs++;
      kinds[index] = kind;
    }
    const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
    view.setUint32(0, runs, true);
    view.setUint32(4, rawPages, true);
    this.#writeRuns(numbers, view);
    return this.#copyRaw(batch, target, headerBytes + runs * runBytes);
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
}

/** Takes runs of pages as a decoder finds them. */
export interface PageVisitor {
  zero(firstPage: number, pages: number): void;
  unchanged(firstPage: number, pages: number): void;
  /** `bytes` are part of what is decoded, not a copy. */
  raw(firstPage: number, bytes: Uint8Array): void;
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
  for (let run = 0; run < runs; run++) {
    const at = headerBytes + run * runBytes;
    const page = view.getUint32(at, true);
    const word = view.getUint32(at + 4, true);
    const pages = word & pagesMask;
    switch (word >>> kindShift) {
      case pageKind.zero:
        visitor.zero(page, pages);
        break;
      case pageKind.unchanged:
        visitor.unchanged(page, pages);
        break;
      case pageKind.raw:
        visitor.raw(page, encoded.subarray(data, data + pages * pageSize));
        data += pages * pageSize;
        break;
    }
  }
}

/** The number of runs, once everything about them is known to be right. */
function checkPages(view: DataView, ramPages: number): number {
  if (view.byteLength < headerBytes) throw new PageEncodingError('they are cut within their head', view.byteLength);
  const runs = view.getUint32(0, true);
  const dataPages = view.getUint32(4, true);
  const length = headerBytes + runs * runBytes + dataPages * pageSize;
  if (view.byteLength < length) throw new PageEncodingError(`they should be ${length} bytes`, view.byteLength);
  if (view.byteLength > length) throw new PageEncodingError(`${view.byteLength - length} bytes are left over`, length);
  let end = 0;
  let rawPages = 0;
  for (let run = 0; run < runs; run++) {
    const at = headerBytes + run * runBytes;
    const page = view.getUint32(at, true);
    const word = view.getUint32(at + 4, true);
    const pages = word & pagesMask;
    if (pages === 0) throw new PageEncodingError('a run of no pages', at);
    if (page < end) throw new PageEncodingError(`page ${page} comes after page ${end - 1}`, at);
    end = page + pages;
    if (end > ramPages) throw new PageEncodingError(`page ${end - 1} is outside of RAM, which has ${ramPages}`, at);
    if (word >>> kindShift === pageKind.delta) throw new PageEncodingError('a kind of page that is not known', at);
    if (word >>> kindShift === pageKind.raw) rawPages += pages;
  }
  if (rawPages !== dataPages) {
    throw new PageEncodingError(`raw runs have ${rawPages} pages, the head says ${dataPages}`, 4);
  }
  return runs;
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
