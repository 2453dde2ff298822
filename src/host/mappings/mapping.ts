import { ENOMEM } from '../errno.ts';
import { close, type Fd } from '../libc/descriptors.ts';
import {
  addressOf,
  adviseHugePages,
  dropPages,
  leaveOutOfForks,
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  mapLargeBlocks,
  maxViewBytes,
  memfd,
  mmap,
  mmapOver,
  munmap,
  noFile,
  PROT_READ,
  PROT_WRITE,
  removePages,
  tryMmapAt,
} from '../libc/memory.ts';
import type { Closable } from '../ownership.ts';
import { SystemError } from '../system-error.ts';

/** Where a mapping lies, to be told to another thread of this process. */
export interface MappingAddress {
  readonly address: number;
  readonly sizeBytes: number;
}

/** Bytes of a huge page on x86-64. */
export const hugePageBytes = 2 * 1024 * 1024;

/**
 * Memory whose bytes V8 does not count. A buffer over foreign memory counts as memory of its heap, and it collects garbage
 * when there is much of it; of a SharedArrayBuffer it does not. So this is one, long enough to begin at a huge page in it,
 * and its pages are replaced: by private ones, in huge pages where the kernel has them to give, or by those of files.
 *
 * Pages cost nothing until they are touched. Threads that get {@link buffer} by message see the same bytes.
 */
export class SharedRange implements Closable, MappingAddress {
  readonly address: number;
  readonly sizeBytes: number;
  readonly buffer: SharedArrayBuffer;
  /** Where the bytes begin in {@link buffer}. */
  readonly start: number;
  readonly #name: string;
  /** Part of it is a file that others may have mapped as well. */
  #isShared = false;
  #open = true;

  /** @throws SystemError if there is not that much memory */
  constructor(name: string, sizeBytes: number) {
    this.#name = name;
    this.sizeBytes = sizeBytes;
    // V8 has the buffer of the C library's calloc, which would otherwise write all over a range of some MiB.
    mapLargeBlocks();
    try {
      this.buffer = new SharedArrayBuffer(sizeBytes + hugePageBytes);
    } catch {
      throw new SystemError('calloc', ENOMEM, name);
    }
    const first = addressOf(new Uint8Array(this.buffer, 0, 1));
    this.address = Math.ceil(first / hugePageBytes) * hugePageBytes;
    this.start = this.address - first;
    this.#mapAnonymous();
    this.#advise();
  }

  /**
   * Has the file's bytes from `fileOffset` on take the place of [offset, offset + length), all of them whole pages. `shared`:
   * the file is what is written there. `private`: the file gives a page when it is first touched, and the first write makes
   * a copy of it. The file must stay as long as it is, or a touch ends the process with SIGBUS; its descriptor may be closed.
   */
  mapFile(kind: 'shared' | 'private', fd: Fd, fileOffset: number, offset = 0, length = this.sizeBytes): void {
    if (kind === 'shared') this.#isShared = true;
    const flags = (kind === 'shared' ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;
    mmapOver(this.address + offset, length, PROT_READ | PROT_WRITE, flags, fd, fileOffset, this.#name);
    leaveOutOfForks(this.address + offset, length);
  }

  /** All of it is zeros again, and takes no memory; what a private file gave it is gone. A shared file loses its contents. */
  zero(): void {
    if (this.#isShared) {
      removePages(this.address, this.sizeBytes, this.#name);
      return;
    }
    this.#mapAnonymous();
    this.#advise();
  }

  /** Forgets what was written to [offset, offset + length), part of a private file: it shows again. Whole pages. */
  revert(offset: number, length: number): void {
    dropPages(this.address + offset, length, this.#name);
  }

  /** Gives the pages back; the addresses go with the buffer. No thread may touch the bytes afterwards. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#mapAnonymous();
  }

  #advise(): void {
    adviseHugePages(this.address, this.sizeBytes);
    leaveOutOfForks(this.address, this.sizeBytes);
  }

  #mapAnonymous(): void {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    mmapOver(this.address, this.sizeBytes, PROT_READ | PROT_WRITE, flags, noFile, 0, this.#name);
  }
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
    this.address = mapLow(name, sizeBytes);
  }

  /** No thread may touch a view of it afterwards. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    munmap(this.address, this.sizeBytes);
  }
}

/** Bytes of part of a mapping. */
export interface MappedWindow<Bytes extends Uint8Array> {
  /** Where they begin in the mapping. */
  readonly offset: number;
  readonly bytes: Bytes;
}

/**
 * `sizeBytes` of a mapping as arrays that `view` makes: one, or, beyond what an array can hold, several that overlap by half,
 * so that whatever is at most half as long as an array lies whole in one of them.
 */
export function windowsOf<Bytes extends Uint8Array>(
  sizeBytes: number,
  view: (offset: number, length: number) => Bytes,
  maxBytes = maxViewBytes,
): MappedWindow<Bytes>[] {
  const windows: MappedWindow<Bytes>[] = [];
  for (let offset = 0; ; offset += maxBytes / 2) {
    const length = Math.min(maxBytes, sizeBytes - offset);
    windows.push({ offset, bytes: view(offset, length) });
    if (offset + length >= sizeBytes) return windows;
  }
}

/** The kernel looks for low memory between 1 and 2 GiB only. */
const lowEnd = 0x8000_0000;
const lowStep = 4 * 1024 * 1024;

/**
 * Now and then that is full: 512 MiB have been seen there that are none of ours, as much as V8 may reserve for a thread's code. Then the
 * rest is looked through. Below 1 GiB are the program and malloc's heap, which goes elsewhere when it cannot grow.
 */
function mapLow(name: string, sizeBytes: number): number {
  const access = PROT_READ | PROT_WRITE;
  try {
    return mmap(sizeBytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, noFile, 0, name);
  } catch (error) {
    const highest = Math.floor((lowEnd - sizeBytes) / lowStep) * lowStep;
    for (let address = highest; address > 0; address -= lowStep) {
      if (tryMmapAt(address, sizeBytes, access, MAP_PRIVATE)) return address;
    }
    throw error;
  }
}
