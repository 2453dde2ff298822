import { EINTR } from '../errno.ts';
import { close, type Fd } from '../libc/descriptors.ts';
import { epollCreate, epollCtl, epollWait } from '../libc/events.ts';
import { viewMemory } from '../libc/memory.ts';
import { LowMapping } from '../mappings/mapping.ts';
import { SystemError } from '../system-error.ts';

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

/** Readable (or a peer that closed). */
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
/** Always told: what the descriptor stood for is gone. */
export const EPOLLERR = 8;
/** Report a change once, not as long as it lasts. */
export const EPOLLET = 0x8000_0000;

/** struct epoll_event is packed on x86-64: events u32, data u64. */
const eventBytes = 12;
const maxEvents = 64;

/** A set of descriptors to wait on (epoll(7)). Each carries a token of the caller's, below 2^31. */
export class Epoll {
  readonly #fd = epollCreate();
  readonly #events = new LowMapping('events', eventBytes * maxEvents);
  readonly #view = new DataView(viewMemory(this.#events.address, this.#events.sizeBytes));
  readonly #event = new Uint8Array(eventBytes);

  add(fd: Fd, events: number, token: number): void {
    this.#control(EPOLL_CTL_ADD, fd, events, token);
  }

  /** Waits for other events from now on. An event that is there already counts as new. */
  modify(fd: Fd, events: number, token: number): void {
    this.#control(EPOLL_CTL_MOD, fd, events, token);
  }

  remove(fd: Fd): void {
    epollCtl(this.#fd, EPOLL_CTL_DEL, fd, this.#event);
  }

  /**
   * Waits up to `timeoutMs` (-1: for ever) and calls `visit` for each ready descriptor. The number of them; 0 after
   * the time or a signal.
   */
  wait(timeoutMs: number, visit: (token: number, events: number) => void): number {
    const count = epollWait(this.#fd, this.#events.address, maxEvents, timeoutMs);
    if (count === -EINTR) return 0;
    if (count < 0) throw new SystemError('epoll_wait', -count, 'the event loop');
    for (let index = 0; index < count; index++) {
      visit(this.#view.getUint32(index * eventBytes + 4, true), this.#view.getUint32(index * eventBytes, true));
    }
    return count;
  }

  close(): void {
    close(this.#fd);
    this.#events.close();
  }

  #control(operation: number, fd: Fd, events: number, token: number): void {
    const view = new DataView(this.#event.buffer);
    view.setUint32(0, events, true);
    view.setUint32(4, token, true);
    view.setUint32(8, 0, true);
    epollCtl(this.#fd, operation, fd, this.#event);
  }
}
