import { closeSync, constants, openSync } from 'node:fs';
import { EAGAIN, EINTR } from '../errno.ts';
import { type Fd, tryWrite } from '../libc/descriptors.ts';
import type { Closable } from '../ownership.ts';

/** A named pipe that nobody reads is looked at again after this time. */
const lookAgainMs = 100;

/**
 * Writes to a named pipe whose readers come and go, without ever blocking. What is written while there is none is dropped: nobody
 * is to wait for a reader that may never come.
 */
export class FifoOutput implements Closable {
  readonly #path: string;
  #fd: number | undefined;
  #nextLook = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Writes what fits now; the count. 0: nothing fits, try later. */
  write(bytes: Uint8Array): number {
    const fd = this.#open();
    if (fd === undefined) return bytes.length;
    const count = tryWrite(fd as Fd, bytes);
    if (count >= 0) return count;
    if (count === -EAGAIN || count === -EINTR) return 0;
    this.close();
    return bytes.length;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number | undefined {
    if (this.#fd !== undefined || performance.now() < this.#nextLook) return this.#fd;
    try {
      // ENXIO: there is no reader. Without O_NONBLOCK this would wait for one.
      this.#fd = openSync(this.#path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {
      this.#nextLook = performance.now() + lookAgainMs;
    }
    return this.#fd;
  }
}
