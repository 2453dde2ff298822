import { SystemError } from '../system-error.ts';
import type { Fd } from './descriptors.ts';
import { declare, lastErrno } from './library.ts';

const eventfdCall = declare<[number, number], number>('int eventfd(unsigned int, int)');

export function createEventfd(flags: number): Fd {
  const fd = eventfdCall(0, flags);
  if (fd < 0) throw new SystemError('eventfd', lastErrno(), 'a new counter');
  return fd as Fd;
}

const eventfdWriteCall = declare<[number, number], number>('int eventfd_write(int, uint64_t)');

/** Adds `count` to an eventfd; 0, or the negative errno. Hot path: a number costs a call much less than a buffer. */
export function tryEventfdWrite(fd: Fd, count: number): number {
  return eventfdWriteCall(fd, count) < 0 ? -lastErrno() : 0;
}

const epollCreateCall = declare<[number], number>('int epoll_create1(int)');
const epollCtlCall = declare<[number, number, number, Uint8Array], number>('int epoll_ctl(int, int, int, uint8_t *)');
const epollWaitCall = declare<[number, number, number, number], number>('int epoll_wait(int, int64_t, int, int)');

export function epollCreate(): Fd {
  const EPOLL_CLOEXEC = 0o2000000;
  const fd = epollCreateCall(EPOLL_CLOEXEC);
  if (fd < 0) throw new SystemError('epoll_create1', lastErrno(), 'a new set');
  return fd as Fd;
}

export function epollCtl(epoll: Fd, operation: number, fd: Fd, event: Uint8Array): void {
  if (epollCtlCall(epoll, operation, fd, event) < 0) throw new SystemError('epoll_ctl', lastErrno(), `fd ${fd}`);
}

/**
 * Waits, with room for `maxEvents` struct epoll_event at address `events`; their number, or the negative errno (-EINTR
 * after a signal). Hot path: a number costs a call much less than a buffer.
 */
export function epollWait(epoll: Fd, events: number, maxEvents: number, timeoutMs: number): number {
  const count = epollWaitCall(epoll, events, maxEvents, timeoutMs);
  return count < 0 ? -lastErrno() : count;
}
