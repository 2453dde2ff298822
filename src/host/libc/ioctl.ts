import { EINTR } from '../errno.ts';
import { SystemError } from '../system-error.ts';
import type { Fd } from './descriptors.ts';
import { declare, lastErrno, libc } from './library.ts';

/**
 * ioctl with a number. Not lazy as the other declarations, for it is the vCPU loop, and a wrapper would cost as much as
 * the call.
 */
export const ioctlNumber = libc.func('ioctl', 'int', ['int', 'uint64', 'uint64']) as unknown as (
  fd: number,
  request: number,
  argument: number,
) => number;

const ioctlBytes = declare<[number, number, Uint8Array], number>('int ioctl(int, uint64_t, uint8_t *)');

/** An ioctl's name and number. */
export interface IoctlRequest {
  readonly name: string;
  readonly number: number;
}

/** Calls ioctl with bytes or a number; a failure is a {@link SystemError} that names the request and `subject`. */
export function ioctl(fd: Fd, request: IoctlRequest, argument: Uint8Array | number, subject: string): number {
  const result = tryIoctl(fd, request, argument);
  if (result < 0) throw new SystemError(request.name, -result, subject);
  return result;
}

/** As {@link ioctl}; a failure is the negative errno. */
export function tryIoctl(fd: Fd, request: IoctlRequest, argument: Uint8Array | number): number {
  for (;;) {
    const result =
      typeof argument === 'number'
        ? ioctlNumber(fd, request.number, argument)
        : ioctlBytes(fd, request.number, argument);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== EINTR) return -errno;
  }
}
