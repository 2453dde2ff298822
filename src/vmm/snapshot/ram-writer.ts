import { readSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Fd } from '../../host/libc/descriptors.ts';
import { gpa, pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { asBuffer, isZero } from '../../memory/page-codec.ts';
import { chunkBytes, chunkPages } from './snapshot-format.ts';

/** Pages that are written in one turn: some milliseconds. Longest single write, too. */
const turnPages = 1024;
/** Chunks whose checksums are reckoned in one turn. */
const turnChunks = 64;

/**
 * Writes pages of RAM into a file. Pages may be written again when they have changed. Pages are counted in RAM without the
 * hole.
 */
export class RamWriter {
  /** The pages that were written, those of zeros too. */
  readonly held: DirtyBitmap;
  readonly #memory: GuestMemory;
  readonly #fd: Fd;
  readonly #offset: number;
  /** Pages that are in the file as bytes, and not as a hole. */
  readonly #inFile: DirtyBitmap;

  /** @param offset of page 0 in the file, which is open to read and write, and has nothing but holes there */
  constructor(memory: GuestMemory, fd: Fd, offset: number) {
    this.#memory = memory;
    this.#fd = fd;
    this.#offset = offset;
    this.held = new DirtyBitmap(memory.sizeBytes / pageSize);
    this.#inFile = new DirtyBitmap(this.held.pages);
  }

  /** Bytes of RAM that are in the file. */
  get bytesInFile(): number {
    return this.#inFile.count * pageSize;
  }

  /**
   * Writes the pages marked in `dirty`, a bitmap for each region, and yields after each turn the bytes that were written in
   * it. What the guest writes meanwhile is to be written again.
   *
   * @throws NodeJS.ErrnoException as the file system gives it: ENOSPC, EDQUOT, EIO, ...
   */
  *write(dirty: readonly DirtyBitmap[]): Generator<number> {
    for (const [index, region] of this.#memory.regions.entries()) {
      const marked = dirty[index];
      if (marked === undefined) continue;
      const firstPage = region.offset / pageSize;
      for (let page = marked.nextMarked(0); page < marked.pages; ) {
        const end = Math.min(marked.nextClean(page), page + turnPages);
        yield this.#writeRun(firstPage + page, region.start + page * pageSize, end - page);
        page = marked.nextMarked(end);
      }
    }
  }

  /**
   * The checksum of each chunk, as the file has it. Reckoned once at the end, so that a page costs the same however often
   * it was written, and nothing of it while the guest is paused. Yields between turns.
   */
  *checksums(): Generator<undefined, Uint32Array> {
    const { pages } = this.held;
    const checksums = new Uint32Array(Math.ceil(pages / chunkPages)).fill(checksumOfHole(chunkPages));
    const rest = pages % chunkPages;
    if (rest > 0) checksums[checksums.length - 1] = checksumOfHole(rest);
    const buffer = new Uint8Array(chunkBytes);
    let sinceTurn = 0;
    for (let page = this.#inFile.nextMarked(0); page < pages; ) {
      const chunk = Math.floor(page / chunkPages);
      const bytes = buffer.subarray(0, Math.min(chunkBytes, (pages - chunk * chunkPages) * pageSize));
      this.#readFully(bytes, chunk * chunkBytes);
      checksums[chunk] = crc32(bytes);
      page = this.#inFile.nextMarked((chunk + 1) * chunkPages);
      if (++sinceTurn < turnChunks) continue;
      sinceTurn = 0;
      yield;
    }
    return checksums;
  }

  /** Writes adjacent pages; the bytes that that were. */
  #writeRun(firstPage: number, address: number, pages: number): number {
    const bytes = asBuffer(this.#memory.slice(gpa(address), pages * pageSize));
    this.held.markBytes(firstPage * pageSize, pages * pageSize);
    // Zeros are a hole, unless something else is there already.
    const isHole = (page: number): boolean => isZero(bytes, page * pageSize) && !this.#inFile.has(firstPage + page);
    let written = 0;
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
      written += (page - start) * pageSize;
    }
    return written;
  }

  #writeFully(bytes: Uint8Array, at: number): void {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, this.#offset + at + done);
    }
  }

  #readFully(bytes: Uint8Array, at: number): void {
    for (let done = 0; done < bytes.length; ) {
      const count = readSync(this.#fd, bytes, done, bytes.length - done, this.#offset + at + done);
      if (count === 0) throw new Error('the file was cut while it was written');
      done += count;
    }
  }
}

const zeroPage = Buffer.alloc(pageSize);

/** Checksum of so many pages of zeros. */
export function checksumOfHole(pages: number): number {
  let checksum = 0;
  for (let page = 0; page < pages; page++) checksum = crc32(zeroPage, checksum);
  return checksum;
}
