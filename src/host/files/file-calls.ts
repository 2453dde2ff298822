import { EINTR } from '../errno.ts';
import type { Fd } from '../libc/descriptors.ts';
import { lastErrno, libc } from '../libc/library.ts';
import type { IoVector } from '../mappings/io-vector.ts';

/** System calls on files that disks are made of. Results are counts, or negative errno values. */

// Wrappers that spread arguments would allocate for each call; these are declared when the first FileCalls is made.
type VectorCall = (fd: number, address: number, count: number, offset: number) => number;
type AllocateCall = (fd: number, mode: number, offset: number, length: number) => number;
type SyncCall = (fd: number) => number;

export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 0x10;

/** preadv, pwritev, fdatasync and fallocate; the calling thread waits for each. */
export class FileCalls {
  readonly #preadv = libc.func('preadv', 'int64_t', ['int', 'int64_t', 'int', 'int64_t']) as unknown as VectorCall;
  readonly #pwritev = libc.func('pwritev', 'int64_t', ['int', 'int64_t', 'int', 'int64_t']) as unknown as VectorCall;
  readonly #fdatasync = libc.func('fdatasync', 'int', ['int']) as unknown as SyncCall;
  readonly #fallocate = libc.func('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']) as unknown as AllocateCall;

  read(fd: Fd, data: IoVector): number {
    for (;;) {
      const result = this.#preadv(fd, data.address, data.count, data.offset);
      if (result >= 0) return result;
      const errno = lastErrno();
      if (errno !== EINTR) return -errno;
    }
  }

  write(fd: Fd, data: IoVector): number {
    for (;;) {
      const result = this.#pwritev(fd, data.address, data.count, data.offset);
      if (result >= 0) return result;
      const errno = lastErrno();
      if (errno !== EINTR) return -errno;
    }
  }

  sync(fd: Fd): number {
    for (;;) {
      if (this.#fdatasync(fd) === 0) return 0;
      const errno = lastErrno();
      if (errno !== EINTR) return -errno;
    }
  }

  allocate(fd: Fd, mode: number, offset: number, length: number): number {
    for (;;) {
      if (this.#fallocate(fd, mode, offset, length) === 0) return 0;
      const errno = lastErrno();
      if (errno !== EINTR) return -errno;
    }
  }
}
