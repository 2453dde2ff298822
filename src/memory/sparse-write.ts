import { setImmediate } from 'node:timers/promises';
import { EINTR, EIO } from '../host/errno.ts';
import { type IoVector, IoVectors } from '../host/io-vector.ts';
import { type Fd, tryPwritev } from '../host/libc.ts';
import { Owner } from '../host/ownership.ts';
import { SystemError } from '../host/system-error.ts';
import { gpa, pageSize } from './address.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import type { GuestMemory } from './guest-memory.ts';
import { asBuffer, isZero } from './page-codec.ts';

/** What {@link writeSparse} did. */
export interface SparseWrite {
  readonly writtenPages: number;
  /** Pages of zeros, which are holes in the file now. */
  readonly zeroPages: number;
}

/** Pages that are looked at and written before other work of this thread gets its turn: some milliseconds. */
const turnPages = 2048;
/** Longest single write. */
const maxWritePages = 256;

/**
 * Writes RAM to a file that has nothing but holes there yet: page n, counted without the hole, at `offset` + n * 4096.
 * Pages of zeros are not written. The file is made long enough by the caller.
 *
 * Other work of this thread runs in between; the guest must stand still all the same.
 *
 * @param memory RAM that is mapped in this process
 * @param pages only these, a bitmap for each region
 * @throws SystemError as the file system gives it: ENOSPC, EDQUOT, EIO, ...
 */
export async function writeSparse(
  memory: GuestMemory,
  fd: Fd,
  offset: number,
  pages?: readonly DirtyBitmap[],
): Promise<SparseWrite> {
  const owner = new Owner();
  try {
    const [vector] = owner.own(new IoVectors(1, 1)).vectors;
    if (vector === undefined) throw new RangeError('no vector');
    let writtenPages = 0;
    let zeroPages = 0;
    let looked = 0;
    for (const [index, region] of memory.regions.entries()) {
      const marked = pages === undefined ? everyPage(region.sizeBytes / pageSize) : pages[index];
      if (marked === undefined) continue;
      for (let page = marked.nextMarked(0); page < marked.pages; ) {
        const end = Math.min(marked.nextClean(page), page + turnPages);
        const start = gpa(region.start + page * pageSize);
        const bytes = asBuffer(memory.slice(start, (end - page) * pageSize));
        const address = memory.addressForRead(start, bytes.length);
        if (region.address === 0) throw new TypeError('this RAM is not mapped');
        const written = writePages(bytes, address, fd, offset + region.offset + page * pageSize, vector);
        writtenPages += written;
        zeroPages += end - page - written;
        looked += end - page;
        page = marked.nextMarked(end);
        if (looked >= turnPages) {
          looked = 0;
          await setImmediate();
        }
      }
    }
    return { writtenPages, zeroPages };
  } finally {
    owner.close();
  }
}

function everyPage(pages: number): DirtyBitmap {
  const all = new DirtyBitmap(pages);
  all.markBytes(0, pages * pageSize);
  return all;
}

/** Writes the pages of `bytes`, which lie at `address`, that are not zero; their number. */
function writePages(bytes: Buffer, address: number, fd: Fd, offset: number, vector: IoVector): number {
  let written = 0;
  for (let at = 0; at < bytes.length; ) {
    if (isZero(bytes, at)) {
      at += pageSize;
      continue;
    }
    const start = at;
    do at += pageSize;
    while (at < bytes.length && at - start < maxWritePages * pageSize && !isZero(bytes, at));
    writeFully(fd, vector, address + start, at - start, offset + start);
    written += (at - start) / pageSize;
  }
  return written;
}

function writeFully(fd: Fd, vector: IoVector, address: number, length: number, offset: number): void {
  for (let done = 0; done < length; ) {
    vector.clear();
    vector.add(address + done, length - done);
    const count = tryPwritev(fd, vector.address, vector.count, offset + done);
    if (count === -EINTR) continue;
    if (count <= 0) throw new SystemError('pwritev', -count || EIO, 'the file for guest RAM');
    done += count;
  }
}
