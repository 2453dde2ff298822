import { SystemError } from '../system-error.ts';
import { declare, lastErrno, libc } from './library.ts';

declare const fdBrand: unique symbol;

/** An open file descriptor. Valid in every thread of this process. */
export type Fd = number & { readonly [fdBrand]: true };

const closeCall = declare<[number], number>('int close(int)');

/** Closes a descriptor. EINTR counts as closed (Linux has released it by then). */
export function close(fd: Fd): void {
  closeCall(fd);
}

const openCall = declare<[string, number, number], number>('int open(const char *, int, int)');

/** Opens `path` with O_CLOEXEC added to `flags`. */
export function open(path: string, flags: number, mode = 0): Fd {
  const O_CLOEXEC = 0o2000000;
  const fd = openCall(path, flags | O_CLOEXEC, mode);
  if (fd < 0) throw new SystemError('open', lastErrno(), path);
  return fd as Fd;
}

const readCall = declare<[number, Uint8Array, number], number>('int64_t read(int, uint8_t *, size_t)');
const writeCall = declare<[number, Uint8Array, number], number>('int64_t write(int, const uint8_t *, size_t)');

/** Reads into `target`; the count, or the negative errno. */
export function tryRead(fd: Fd, target: Uint8Array): number {
  const count = readCall(fd, target, target.length);
  return count < 0 ? -lastErrno() : count;
}

/** Writes `source`; the count, or the negative errno. */
export function tryWrite(fd: Fd, source: Uint8Array): number {
  const count = writeCall(fd, source, source.length);
  return count < 0 ? -lastErrno() : count;
}

type VectorCall = (fd: number, address: number, count: number) => number;
let readvCall: VectorCall | undefined;
let writevCall: VectorCall | undefined;

/**
 * Reads into the `count` struct iovec at `address`; the bytes read, or the negative errno. Declared when first used as
 * all others, but without the wrapper that takes any number of arguments: it runs once a packet.
 */
export function tryReadv(fd: Fd, address: number, count: number): number {
  readvCall ??= libc.func('readv', 'int64_t', ['int', 'int64_t', 'int']) as unknown as VectorCall;
  const result = readvCall(fd, address, count);
  return result < 0 ? -lastErrno() : result;
}

/** Writes from the `count` struct iovec at `address`; the bytes written, or the negative errno. */
export function tryWritev(fd: Fd, address: number, count: number): number {
  writevCall ??= libc.func('writev', 'int64_t', ['int', 'int64_t', 'int']) as unknown as VectorCall;
  const result = writevCall(fd, address, count);
  return result < 0 ? -lastErrno() : result;
}

type FileVectorCall = (fd: number, address: number, count: number, offset: number) => number;
let preadvCall: FileVectorCall | undefined;
let pwritevCall: FileVectorCall | undefined;

/** As {@link tryReadv}, from `offset` of a file. */
export function tryPreadv(fd: Fd, address: number, count: number, offset: number): number {
  preadvCall ??= libc.func('preadv', 'int64_t', ['int', 'int64_t', 'int', 'int64_t']) as unknown as FileVectorCall;
  const result = preadvCall(fd, address, count, offset);
  return result < 0 ? -lastErrno() : result;
}

/** As {@link tryWritev}, to `offset` of a file. */
export function tryPwritev(fd: Fd, address: number, count: number, offset: number): number {
  pwritevCall ??= libc.func('pwritev', 'int64_t', ['int', 'int64_t', 'int', 'int64_t']) as unknown as FileVectorCall;
  const result = pwritevCall(fd, address, count, offset);
  return result < 0 ? -lastErrno() : result;
}

const pipeCall = declare<[Uint8Array, number], number>('int pipe2(uint8_t *, int)');

/** A pipe whose ends never block: the one to read from, and the one to write to. */
export function createPipe(): [Fd, Fd] {
  const O_NONBLOCK = 0o4000;
  const O_CLOEXEC = 0o2000000;
  const ends = new Uint8Array(8);
  if (pipeCall(ends, O_NONBLOCK | O_CLOEXEC) < 0) throw new SystemError('pipe2', lastErrno(), 'a new pipe');
  const view = new DataView(ends.buffer);
  return [view.getInt32(0, true) as Fd, view.getInt32(4, true) as Fd];
}

const duplicateCall = declare<[number, number, number], number>('int fcntl(int, int, int)');

/** Another descriptor of the same open file, which is closed by itself. */
export function duplicate(fd: Fd): Fd {
  const F_DUPFD_CLOEXEC = 1030;
  const other = duplicateCall(fd, F_DUPFD_CLOEXEC, 0);
  if (other < 0) throw new SystemError('F_DUPFD_CLOEXEC', lastErrno(), `descriptor ${fd}`);
  return other as Fd;
}

const socketCall = declare<[number, number, number], number>('int socket(int, int, int)');

/** A socket with nothing on its other end: the door to the ioctls on network interfaces (netdevice(7)). */
export function interfaceSocket(): Fd {
  const AF_INET = 2;
  const SOCK_DGRAM = 2;
  const SOCK_CLOEXEC = 0o2000000;
  const fd = socketCall(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemError('socket', lastErrno(), 'network interfaces');
  return fd as Fd;
}

const sendCall = declare<[number, Uint8Array, number, number], number>(
  'int64_t send(int, const uint8_t *, size_t, int)',
);

/** Sends what a socket takes at once, without SIGPIPE; the count, or the negative errno. */
export function trySend(fd: Fd, source: Uint8Array): number {
  const MSG_DONTWAIT = 0x40;
  const MSG_NOSIGNAL = 0x4000;
  const count = sendCall(fd, source, source.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  return count < 0 ? -lastErrno() : count;
}

const setsockoptCall = declare<[number, number, number, Uint8Array, number], number>(
  'int setsockopt(int, int, int, const uint8_t *, uint32_t)',
);

/** Sets an option of a socket that Node has no method for. */
export function setSocketOption(fd: Fd, level: number, option: number, value: Uint8Array, subject: string): void {
  if (setsockoptCall(fd, level, option, value, value.length) < 0) {
    throw new SystemError('setsockopt', lastErrno(), subject);
  }
}
