import { fstatSync } from 'node:fs';
import { EINTR, ENXIO } from '../errno.ts';
import { type Fd, tryPreadv } from '../libc/descriptors.ts';
import { declare, lastErrno } from '../libc/library.ts';
import { IoVectors } from '../mappings/io-vector.ts';
import { SystemError } from '../system-error.ts';

/** A file is shorter than what is to be found in it. */
export class FileTooShortError extends Error {
  readonly code = 'FILE_TOO_SHORT';

  constructor(neededBytes: number, sizeBytes: number) {
    super(`the file has ${sizeBytes} bytes, and ${neededBytes} are needed: it was cut, or is another one`);
    this.name = 'FileTooShortError';
  }
}

/** Makes sure that [offset, offset + length) lies in the file, for touching a mapping beyond its end is fatal. */
export function requireFileBytes(fd: Fd, offset: number, length: number): void {
  const { size } = fstatSync(fd);
  if (size < offset + length) throw new FileTooShortError(offset + length, size);
}

/** Reads `length` bytes of a file, from `offset` on, to an address that the caller has checked. */
export function readIntoMemory(fd: Fd, offset: number, address: number, length: number): void {
  const room = new IoVectors(1, 1);
  try {
    const [vector] = room.vectors;
    for (let done = 0; vector !== undefined && done < length; ) {
      vector.clear();
      vector.add(address + done, length - done);
      const count = tryPreadv(fd, vector.address, 1, offset + done);
      if (count === 0) throw new FileTooShortError(offset + length, offset + done);
      if (count < 0 && count !== -EINTR) throw new SystemError('preadv', -count, 'guest RAM');
      done += Math.max(0, count);
    }
  } finally {
    room.close();
  }
}

const lseekCall = declare<[number, number, number], number>('int64_t lseek(int, int64_t, int)');

/**
 * Where, from `offset` on, the file has bytes and no hole; undefined if nowhere. What a file system cannot tell apart counts
 * as bytes. It moves the descriptor's position.
 */
export function nextData(fd: Fd, offset: number): number | undefined {
  const SEEK_DATA = 3;
  const result = lseekCall(fd, offset, SEEK_DATA);
  if (result >= 0) return result;
  const errno = lastErrno();
  if (errno === ENXIO) return undefined;
  throw new SystemError('lseek', errno, 'a file with holes');
}
