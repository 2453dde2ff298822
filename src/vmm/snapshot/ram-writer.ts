import { writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { gpa, pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { asBuffer, isZero } from '../../memory/page-codec.ts';
import { chunkPages } from './snapshot-format.ts';

/** Pages that are written in one turn: some milliseconds. Longest single write, too. */
const turnPages = 1024;

const zeroPage = Buffer.alloc(pageSize);

/**
 * Writes pages of RAM into a file, and keeps the checksum of each chunk. Pages may be written again when they have changed.
 * Pages are counted in RAM without the hole.
 */
export class RamWriter {
  /** Of each chunk, as the file has it. */
  readonly checksums: Uint32Array;
  /** The pages that the file holds. */
  readonly held: DirtyBitmap;
  readonly #memory: GuestMemory;
  readonly #fd: number;
  readonly #offset: number;
  /** Pages that are in the file as bytes, and not as a hole. */
  readonly #inFile: DirtyBitmap;

  /** @param offset of page 0 in the file, which has nothing but holes there */
  constructor(memory: GuestMemory, fd: number, offset: number) {
    this.#memory = memory;
    this.#fd = fd;
    this.#offset = offset;
    const pages = memory.sizeBytes / pageSize;
    this.held = new DirtyBitmap(pages);
    this.#inFile = new DirtyBitmap(pages);
    this.checksums = new Uint32Array(Math.ceil(pages / chunkPages)).fill(checksumOfHole(chunkPages));
    const rest = pages % chunkPages;
    if (rest > 0) this.checksums[this.checksums.length - 1] = checksumOfHole(rest);
  }

  /** Bytes that were written to the file. */
  get writtenBytes(): number {
    return this.#inFile.count * pageSize;
  }

  /**
   * Writes the pages marked in `dirty`, a bitmap for each region, and yields between turns. What the guest writes meanwhile
   * is to be written again.
   *
   * @throws NodeJS.ErrnoException as the file system gives it: ENOSPC, EDQUOT, EIO, ...
   */
  *write(dirty: readonly DirtyBitmap[]): Generator<undefined> {
    for (const [index, region] of this.#memory.regions.entries()) {
      const marked = dirty[index];
      const firstPage = region.offset / pageSize;
      for (let page = marked?.nextMarked(0) ?? 0; marked !== undefined && page < marked.pages; ) {
        const end = Math.min(marked.nextClean(page), page + turnPages);
        this.#writeRun(firstPage + page, region.start + page * pageSize, end - page);
        page = marked.nextMarked(end);
        yield;
      }
    }
  }

  /** Writes adjacent pages, and reckons the checksums of their chunks anew. */
  #writeRun(firstPage: number, address: number, pages: number): void {
    const bytes = asBuffer(this.#memory.slice(gpa(address), pages * pageSize));
    this.held.markBytes(firstPage * pageSize, pages * pageSize);
    // Zeros are a hole, unless something else is there already.
    const isHole = (page: number): boolean => isZero(bytes, page * pageSize) && !this.#inFile.has(firstPage + page);
    for (let page = 0; page < pages; ) {
      if (isHole(page)) {
        page++;
        continue;
      }
      const start = page;
      do page++;
      while (page < pages && !isHole(page));
      this.#inFile.markBytes((firstPage + start) * pageSize, (page - start) * pageSize);
      this.#writeFully(bytes.subarray(start * pageSize, page * pageSize), (firstPage + start) * pageSize);
    }
    const lastChunk = Math.floor((firstPage + pages - 1) / chunkPages);
    for (let chunk = Math.floor(firstPage / chunkPages); chunk <= lastChunk; chunk++) {
      this.checksums[chunk] = this.#checksum(chunk);
    }
  }

  #checksum(chunk: number): number {
    const first = chunk * chunkPages;
    const end = Math.min(first + chunkPages, this.held.pages);
    let checksum = 0;
    for (let page = first; page < end; page++) {
      checksum = crc32(
        this.held.has(page) ? this.#memory.slice(gpa(this.#addressOf(page)), pageSize) : zeroPage,
        checksum,
      );
    }
    return checksum;
  }

  #addressOf(page: number): number {
    const offset = page * pageSize;
    for (const region of this.#memory.regions) {
      if (offset < region.offset + region.sizeBytes) return region.start + offset - region.offset;
    }
    throw new RangeError(`page ${page} is not in RAM`);
  }

  #writeFully(bytes: Uint8Array, at: number): void {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, this.#offset + at + done);
    }
  }
}

/** Checksum of so many pages of zeros. */
export function checksumOfHole(pages: number): number {
  let checksum = 0;
  for (let page = 0; page < pages; page++) checksum = crc32(zeroPage, checksum);
  return checksum;
}
