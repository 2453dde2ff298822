import { EAGAIN } from '../errno.ts';
import { close, type Fd, tryRead } from '../libc/descriptors.ts';
import { createEventfd, tryEventfdWrite } from '../libc/events.ts';
import { SystemError } from '../system-error.ts';

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** A kernel counter that KVM, epoll and any thread can signal and wait for (eventfd(2)). */
export class EventFd {
  readonly fd: Fd;
  readonly #count = new Uint8Array(8);

  /** A new counter, or one that another thread made. */
  constructor(fd: Fd = createEventfd(EFD_CLOEXEC | EFD_NONBLOCK)) {
    this.fd = fd;
  }

  /** Adds one. A counter that is full already is signalled, so nothing is lost. */
  signal(): void {
    const result = tryEventfdWrite(this.fd, 1);
    if (result < 0 && result !== -EAGAIN) throw new SystemError('write', -result, `eventfd ${this.fd}`);
  }

  /** Takes the count and sets it to zero; false if it was zero. */
  drain(): boolean {
    const result = tryRead(this.fd, this.#count);
    if (result < 0 && result !== -EAGAIN) throw new SystemError('read', -result, `eventfd ${this.fd}`);
    return result > 0;
  }

  close(): void {
    close(this.fd);
  }
}
