import {
  adviseHugePages,
  close,
  dropPages,
  type Fd,
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  maxViewBytes,
  memfd,
  mmap,
  mmapOver,
  munmap,
  noFile,
  PROT_READ,
  PROT_WRITE,
  viewMemory,
} from './libc.ts';
import type { Closable } from './ownership.ts';

/** Where a mapping lies, to be told to another thread of this process. */
export interface MappingAddress {
  readonly address: number;
  readonly sizeBytes: number;
}

/** Shared memory without a name: a memfd, mapped whole. Pages cost nothing until they are touched. */
export class MemfdMapping implements Closable, MappingAddress {
  readonly fd: Fd;
  readonly address: number;
  readonly sizeBytes: number;
  #open = true;

  constructor(name: string, sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.fd = memfd(name, sizeBytes);
    try {
      this.address = mmap(sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, this.fd, 0, name);
    } catch (error) {
      close(this.fd);
      throw error;
    }
  }

  /** No thread may touch a view of it afterwards. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    munmap(this.address, this.sizeBytes);
    close(this.fd);
  }
}

/**
 * Part of a file, mapped so that writes stay here: the file gives a page when it is first touched, and the first write
 * makes a copy of it. The file must be at least as long for as long as this is mapped, or a touch ends the process with
 * SIGBUS; its descriptor may be closed at once.
 */
export class PrivateFileMapping implements Closable, MappingAddress {
  readonly address: number;
  readonly sizeBytes: number;
  readonly #name: string;
  #open = true;

  /** @param fileOffset a multiple of the page size */
  constructor(name: string, fd: Fd, fileOffset: number, sizeBytes: number) {
    this.#name = name;
    this.sizeBytes = sizeBytes;
    this.address = mmap(sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, fileOffset, name);
  }

  /** Maps part of another file over [offset, offset + length), in the same way. All of them whole pages. */
  overlay(fd: Fd, fileOffset: number, offset: number, length: number): void {
    const flags = MAP_PRIVATE | MAP_NORESERVE;
    mmapOver(this.address + offset, length, PROT_READ | PROT_WRITE, flags, fd, fileOffset, this.#name);
  }

  /** Forgets what was written to [offset, offset + length): the file shows again. Whole pages. */
  revert(offset: number, length: number): void {
    dropPages(this.address + offset, length, this.#name);
  }

  /** No thread may touch a view of it afterwards. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    munmap(this.address, this.sizeBytes);
  }
}

/** Bytes of a huge page on x86-64. */
const hugePageBytes = 2 * 1024 * 1024;

/**
 * Memory of this process alone, in huge pages where the kernel has them to give. Threads see it at the same address,
 * as they do every mapping. Pages cost nothing until they are touched.
 */
export class AnonymousMapping implements Closable, MappingAddress {
  readonly address: number;
  readonly sizeBytes: number;
  readonly #reserved: MappingAddress;
  #open = true;

  constructor(name: string, sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    // A huge page needs an address that is a multiple of its size, which mmap does not promise.
    const reservedBytes = sizeBytes + hugePageBytes;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const start = mmap(reservedBytes, PROT_READ | PROT_WRITE, flags, noFile, 0, name);
    this.#reserved = { address: start, sizeBytes: reservedBytes };
    this.address = Math.ceil(start / hugePageBytes) * hugePageBytes;
    adviseHugePages(this.address, sizeBytes);
  }

  /** No thread may touch a view of it afterwards. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    munmap(this.#reserved.address, this.#reserved.sizeBytes);
  }
}

/**
 * A little memory below 2 GiB. V8 has numbers up to there in a register; a greater one that a system call is given, such
 * as an address, costs it 16 bytes of heap each time.
 */
export class LowMapping implements Closable, MappingAddress {
  readonly address: number;
  readonly sizeBytes: number;
  #open = true;

  constructor(name: string, sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
    this.address = mmap(sizeBytes, PROT_READ | PROT_WRITE, flags, noFile, 0, name);
  }

  /** No thread may touch a view of it afterwards. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    munmap(this.address, this.sizeBytes);
  }
}

/** A buffer over part of a mapping. */
export interface MappedWindow {
  /** Where it begins in the mapping, in bytes. */
  readonly offset: number;
  readonly buffer: ArrayBuffer;
}

/**
 * `sizeBytes` at `address` as buffers: one, or, beyond what a buffer can hold, several that overlap by half, so that
 * whatever is at most half as long as a buffer lies whole in one of them.
 */
export function viewWindows(address: number, sizeBytes: number, maxBytes = maxViewBytes): MappedWindow[] {
  const windows: MappedWindow[] = [];
  for (let offset = 0; ; offset += maxBytes / 2) {
    const length = Math.min(maxBytes, sizeBytes - offset);
    windows.push({ offset, buffer: viewMemory(address + offset, length) });
    if (offset + length >= sizeBytes) return windows;
  }
}
