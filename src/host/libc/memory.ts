import koffi from 'koffi';
import { SystemError } from '../system-error.ts';
import { close, type Fd } from './descriptors.ts';
import { declare, lastErrno, libc } from './library.ts';

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

/** As {@link mmap}, of memory at [address, address + length) if nothing is mapped there. @returns whether it was */
export function tryMmapAt(address: number, length: number, protection: number, flags: number): boolean {
  const MAP_FIXED_NOREPLACE = 0x100000;
  return mmapCall(address, length, protection, flags | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, noFile, 0) === address;
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

const malloptCall = declare<[number, number], number>('int mallopt(int, int)');
const largeBlockBytes = 1024 * 1024;

/**
 * Has blocks of the C library from a MiB on be mappings of their own, which cost nothing until they are touched and are the kernel's
 * again when they are freed (mallopt(3)). Of itself it raises that limit, up to 32 MiB, with each larger one that is freed; from then
 * on they come from its heap, where calloc writes zeros over all of what was used before, and gaps between them stay.
 */
export function mapLargeBlocks(): void {
  const M_MMAP_THRESHOLD = -3;
  malloptCall(M_MMAP_THRESHOLD, largeBlockBytes);
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
