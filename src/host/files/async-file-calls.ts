import { EINTR } from '../errno.ts';
import type { Fd } from '../libc/descriptors.ts';
import { lastErrno, libc } from '../libc/library.ts';
import type { IoVector } from '../mappings/io-vector.ts';

/** Told once: a count, or a negative errno. */
export type CallDone = (result: number) => void;

/** A foreign function that can be called on another thread. */
interface AsyncCall {
  async(...args: unknown[]): void;
}

/**
 * preadv, pwritev, fdatasync and fallocate on threads of Node's pool, for a thread that runs Node's event loop. Vectors and the
 * memory that they name belong to the call until it is done.
 */
export class AsyncFileCalls {
  readonly #preadv = asyncCall('preadv', 'int64_t', ['int', 'int64_t', 'int', 'int64_t']);
  readonly #pwritev = asyncCall('pwritev', 'int64_t', ['int', 'int64_t', 'int', 'int64_t']);
  readonly #fdatasync = asyncCall('fdatasync', 'int', ['int']);
  readonly #fallocate = asyncCall('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']);

  read(fd: Fd, data: IoVector, done: CallDone): void {
    call(this.#preadv, [fd, data.address, data.count, data.offset], done);
  }

  write(fd: Fd, data: IoVector, done: CallDone): void {
    call(this.#pwritev, [fd, data.address, data.count, data.offset], done);
  }

  sync(fd: Fd, done: CallDone): void {
    call(this.#fdatasync, [fd], done);
  }

  allocate(fd: Fd, mode: number, offset: number, length: number, done: CallDone): void {
    call(this.#fallocate, [fd, mode, offset, length], done);
  }
}

function asyncCall(name: string, result: string, parameters: string[]): AsyncCall {
  return libc.func(name, result, parameters) as unknown as AsyncCall;
}

function call(foreign: AsyncCall, args: readonly number[], done: CallDone): void {
  foreign.async(...args, (error: Error | null, result: number) => {
    if (error !== null) throw error;
    // errno is kept with the call, whichever thread made it.
    const errno = result < 0 ? lastErrno() : 0;
    if (errno === EINTR) call(foreign, args, done);
    else done(errno === 0 ? result : -errno);
  });
}
