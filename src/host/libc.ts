import koffi, { type LibraryHandle } from 'koffi';
import { EINTR } from './errno.ts';
import { SystemError } from './system-error.ts';

/**
 * The C library's calls that Node does not offer, each declared when it is first used: a declaration costs as
 * much as thousands of calls, and no thread needs them all.
 */

declare const fdBrand: unique symbol;

/** An open file descriptor. Valid in every thread of this process. */
export type Fd = number & { readonly [fdBrand]: true };

/** For calls declared elsewhere in this folder. */
export const libc: LibraryHandle = koffi.load('libc.so.6');

/** Another shared library, or undefined if the system has none of that name. */
export function loadLibrary(name: string): LibraryHandle | undefined {
  try {
    return koffi.load(name);
  } catch {
    return undefined;
  }
}

type Call<A extends unknown[], R> = (...args: A) => R;

/** A C function by its prototype, declared when it is first called. */
export function declare<A extends unknown[], R>(prototype: string): Call<A, R> {
  let call: Call<A, R> | undefined;
  return (...args) => {
    call ??= libc.func(prototype) as unknown as Call<A, R>;
    return call(...args);
  };
}

/** errno of the last failed call of this thread. */
export const lastErrno: () => number = () => koffi.errno();

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

const mmapCall = declare<[number, number, number, number, number, number], number>(
  'int64_t mmap(int64_t, size_t, int, int, int, int64_t)',
);
const munmapCall = declare<[number, number], number>('int munmap(int64_t, size_t)');

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_32BIT = 0x40;
/** In place of a descriptor, for {@link MAP_ANONYMOUS}. */
export const noFile = -1 as Fd;

/** Maps `length` bytes of `fd` from `offset`; gives the address. */
export function mmap(
  length: number,
  protection: number,
  flags: number,
  fd: Fd,
  offset: number,
  subject: string,
): number {
  const address = mmapCall(0, length, protection, flags, fd, offset);
  if (address === -1) throw new SystemError('mmap', lastErrno(), subject);
  return address;
}

/**
 * As {@link mmap}, in place of what is mapped at [address, address + length). If it fails, nothing may be mapped there any
 * more: the range must not be touched again.
 */
export function mmapOver(
  address: number,
  length: number,
  protection: number,
  flags: number,
  fd: Fd,
  offset: number,
  subject: string,
): void {
  const MAP_FIXED = 0x10;
  if (mmapCall(address, length, protection, flags | MAP_FIXED, fd, offset) === -1) {
    throw new SystemError('mmap', lastErrno(), subject);
  }
}

export function munmap(address: number, length: number): void {
  munmapCall(address, length);
}

const madviseCall = declare<[number, number, number], number>('int madvise(int64_t, size_t, int)');

/**
 * Gives pages to [address, address + length) at once, which costs a fraction of one fault a page. Only a hint: kernels
 * before 5.14 do not know it, and then the pages come when they are touched.
 */
export function populate(address: number, length: number): void {
  const MADV_POPULATE_WRITE = 23;
  madviseCall(address, length, MADV_POPULATE_WRITE);
}

/**
 * Has the pages of [address, address + length) there, to be read without a fault. Only a hint, as {@link populate}.
 */
export function populateToRead(address: number, length: number): void {
  const MADV_POPULATE_READ = 22;
  madviseCall(address, length, MADV_POPULATE_READ);
}

const mremapCall = declare<[number, number, number, number, number], number>(
  'int64_t mremap(int64_t, size_t, size_t, int, int64_t)',
);

/**
 * Has the pages of the anonymous mapping at [from, from + length) take the place of what is mapped at `to`, at once: whoever reads
 * there meanwhile, a system call too, sees the one or the other. Pages that are not there yet are zeros. The mapping at `from` stays,
 * empty. Since Linux 5.7.
 */
export function movePages(from: number, to: number, length: number, subject: string): void {
  const MREMAP_MAYMOVE = 1;
  const MREMAP_FIXED = 2;
  const MREMAP_DONTUNMAP = 4;
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (mremapCall(from, length, length, flags, to) === -1) throw new SystemError('mremap', lastErrno(), subject);
}

/** Asks for huge pages behind [address, address + length). Only a hint: the host may be set up without them. */
export function adviseHugePages(address: number, length: number): void {
  const MADV_HUGEPAGE = 14;
  madviseCall(address, length, MADV_HUGEPAGE);
}

/**
 * Leaves [address, address + length) out of children that are forked: to mark all pages of a guest as shared with a child, for the
 * moment until it runs its own program, would stop the guest for as long as a checkpoint does. Only a hint.
 */
export function leaveOutOfForks(address: number, length: number): void {
  const MADV_DONTFORK = 10;
  madviseCall(address, length, MADV_DONTFORK);
}

/**
 * Drops the pages of [address, address + length): an anonymous mapping is zeros there again, and a private mapping of a
 * file shows the file.
 */
export function dropPages(address: number, length: number, subject: string): void {
  const MADV_DONTNEED = 4;
  if (madviseCall(address, length, MADV_DONTNEED) < 0) throw new SystemError('madvise', lastErrno(), subject);
}

/** Makes holes in the memfd that is mapped, shared, at [address, address + length): it is zeros there for all who see it. */
export function removePages(address: number, length: number, subject: string): void {
  const MADV_REMOVE = 9;
  if (madviseCall(address, length, MADV_REMOVE) < 0) throw new SystemError('madvise', lastErrno(), subject);
}

/**
 * The `length` bytes at `address` as a buffer. Nothing keeps the mapping alive: whoever unmaps it makes sure
 * that no thread touches the buffer again. V8 allows 4 GiB at most.
 */
export function viewMemory(address: number, length: number): ArrayBuffer {
  return koffi.view(BigInt(address), length) as ArrayBuffer;
}

/** Longest buffer {@link viewMemory} can make. */
export const maxViewBytes = 4 * 1024 ** 3;

const memfdCall = declare<[string, number], number>('int memfd_create(const char *, unsigned int)');
const ftruncateCall = declare<[number, number], number>('int ftruncate(int, int64_t)');

/** An anonymous file of `length` bytes in RAM; pages cost nothing until touched. */
export function memfd(name: string, length: number): Fd {
  const MFD_CLOEXEC = 1;
  const fd = memfdCall(name, MFD_CLOEXEC) as Fd;
  if (fd < 0) throw new SystemError('memfd_create', lastErrno(), name);
  if (ftruncateCall(fd, length) < 0) {
    const error = new SystemError('ftruncate', lastErrno(), name);
    close(fd);
    throw error;
  }
  return fd;
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

const getrandomCall = declare<[number, number, number], number>('int64_t getrandom(int64_t, size_t, unsigned int)');

/** Fills [address, address + length) from the kernel's generator; the bytes filled, or the negative errno. */
export function tryGetrandom(address: number, length: number): number {
  const count = getrandomCall(address, length, 0);
  return count < 0 ? -lastErrno() : count;
}

/**
 * Copies `length` bytes from one address to another. Whoever calls has checked both. Not lazy, for a guest's pages are
 * copied one by one while it is stopped: a wrapper would add an eighth to a page's time.
 */
export const copyMemory = libc.func('void memcpy(int64_t, int64_t, size_t)') as unknown as (
  target: number,
  source: number,
  length: number,
) => void;

const memcpyFromCall = declare<[number, Uint8Array, number], number>(
  'int64_t memcpy(int64_t, const uint8_t *, size_t)',
);
const memmoveCall = declare<[number, number, number], number>('int64_t memmove(int64_t, int64_t, size_t)');
const memsetCall = declare<[number, number, number], number>('int64_t memset(int64_t, int, size_t)');

/** Copies `bytes` to an address of this process. */
export function fillMemory(target: number, bytes: Uint8Array): void {
  memcpyFromCall(target, bytes, bytes.length);
}

/** As {@link copyMemory}, of areas that may overlap. */
export function moveMemory(target: number, source: number, length: number): void {
  memmoveCall(target, source, length);
}

/** Zeroes memory of this process. */
export function zeroMemory(target: number, length: number): void {
  memsetCall(target, 0, length);
}

const mallocTrimCall = declare<[number], number>('int malloc_trim(size_t)');

/** Gives memory back to the kernel that the C library keeps for who may want it soon. Takes a while: after something large has ended. */
export function trimHeap(): void {
  mallocTrimCall(0);
}

const memcmpCall = declare<[number, number, number], number>('int memcmp(int64_t, int64_t, size_t)');

/** Whether memory of this process is nothing but zeros; it ends at the first byte that is not. */
export function isZero(address: number, length: number): boolean {
  const first = new Uint8Array(1);
  memcpyToCall(first, address, 1);
  // Each byte is the one before.
  return first[0] === 0 && memcmpCall(address, address + 1, length - 1) === 0;
}

const memcpyToCall = declare<[Uint8Array, number, number], number>('int64_t memcpy(uint8_t *, int64_t, size_t)');

const sameAddress = declare<[Uint8Array, Uint8Array, number], number>(
  'int64_t memcpy(uint8_t *, const uint8_t *, size_t)',
);

/** Where an array's bytes lie in this process: for as long as its buffer lives, if that is a SharedArrayBuffer. */
export function addressOf(bytes: Uint8Array): number {
  // memcpy returns its target, and copies nothing here.
  return sameAddress(bytes, bytes, 0);
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

const eventfdCall = declare<[number, number], number>('int eventfd(unsigned int, int)');

export function createEventfd(flags: number): Fd {
  const fd = eventfdCall(0, flags);
  if (fd < 0) throw new SystemError('eventfd', lastErrno(), 'a new counter');
  return fd as Fd;
}

const exitCall = declare<[number], void>('void _exit(int)');

/** Ends the process without another word: nothing that waits for its end is run, by Node or by the C library. */
export function exitAtOnce(code: number): void {
  exitCall(code);
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

const syscallCall = declare<[number, number, number, number], number>(
  'int64_t syscall(int64_t, int64_t, int64_t, int64_t)',
);
const dlsymCall = declare<[number, string], bigint | number>('int64_t dlsym(int64_t, const char *)');
const sigactionCall = declare<[number, Uint8Array, null], number>('int sigaction(int, const uint8_t *, void *)');

/** System call numbers of x86-64 without a function in every C library. */
const SYS_gettid = 186;
const SYS_tgkill = 234;

/** Kernel id of the calling thread. */
export function gettid(): number {
  return syscallCall(SYS_gettid, 0, 0, 0);
}

/** Sends a signal to one thread of this process. A thread that is gone already is no error. */
export function signalThread(tid: number, signal: number): void {
  syscallCall(SYS_tgkill, process.pid, tid, signal);
}

/** Installs a C function of the C library, by name, as handler of `signal` for the whole process. */
export function handleSignalWith(signal: number, functionName: string): void {
  const RTLD_DEFAULT = 0;
  const handler = BigInt(dlsymCall(RTLD_DEFAULT, functionName));
  if (handler === 0n) throw new Error(`the C library has no ${functionName}`);
  handleSignal(signal, handler);
}

/** Has the kernel ignore `signal` for the whole process: a handler, all that Node offers, is not the same for a terminal. */
export function ignoreSignal(signal: number): void {
  const SIG_IGN = 1;
  handleSignal(signal, BigInt(SIG_IGN));
}

function handleSignal(signal: number, handler: bigint): void {
  // struct sigaction of glibc: handler 8 bytes, mask 128 bytes, flags int, restorer 8 bytes. No SA_RESTART:
  // the point of the signal is to interrupt a system call.
  const action = new Uint8Array(152);
  new DataView(action.buffer).setBigUint64(0, handler, true);
  if (sigactionCall(signal, action, null) < 0) throw new SystemError('sigaction', lastErrno(), `signal ${signal}`);
}
