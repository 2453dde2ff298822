import { readIntoMemory, requireFileBytes } from '../host/file-region.ts';
import type { MemorySlot } from '../host/kvm/vm.ts';
import type { Fd } from '../host/libc.ts';
import { AnonymousMapping, MemfdMapping, PrivateFileMapping, viewWindows } from '../host/mapping.ts';
import type { Closable } from '../host/ownership.ts';
import { hva, pageSize } from './address.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import { GuestMemory } from './guest-memory.ts';
import { layOutRam, type RamRegion } from './regions.ts';

/** What another thread of this process needs to see the same RAM. */
export interface SharedRam {
  readonly address: number;
  readonly regions: readonly RamRegion[];
  readonly written: readonly SharedArrayBuffer[];
  readonly tracking: SharedArrayBuffer;
}

/**
 * What RAM is made of. `private` memory can be in huge pages, which makes a guest that touches much of it start
 * faster by a third; `shared` memory is a memfd, which another process or a second mapping can share.
 */
export type RamBacking = 'private' | 'shared';

/** RAM whose first contents are part of a file, from `offset` on, a multiple of the page size. */
export interface FileRegion {
  readonly fd: Fd;
  readonly offset: number;
}

/** Fewer pages than this are read instead of mapped: a process may have some 65,000 mappings (vm.max_map_count). */
const leastMappedPages = 256;

/** Guest RAM: one mapping for all regions, which costs nothing until it is touched. */
export class Ram implements Closable {
  readonly memory: GuestMemory;
  readonly shared: SharedRam;
  readonly #mapping: AnonymousMapping | MemfdMapping | PrivateFileMapping;

  /**
   * @param sizeBytes a multiple of the page size
   * @param backing a file's pages are read when they are first touched, and the file never changes
   */
  constructor(sizeBytes: number, backing: RamBacking | FileRegion = 'private') {
    if (sizeBytes % pageSize !== 0) throw new RangeError(`RAM of ${sizeBytes} bytes is not a whole number of pages`);
    this.#mapping = mapRam(sizeBytes, backing);
    try {
      this.shared = shareRam(this.#mapping.address, sizeBytes);
      this.memory = viewRam(this.shared);
    } catch (error) {
      this.#mapping.close();
      throw error;
    }
  }

  /** The regions as KVM's memory slots: slot n is region n. */
  get slots(): MemorySlot[] {
    return slotsOf(this.memory);
  }

  /**
   * Gives RAM pages `firstPage` and on, counted without the hole, the contents of `pages` pages of a file. Only for RAM
   * made of a file, before anybody uses it. After an error it is of no use any more.
   */
  overlayFile(region: FileRegion, firstPage: number, pages: number): void {
    if (!(this.#mapping instanceof PrivateFileMapping)) throw new TypeError('only RAM made of a file can be overlaid');
    const offset = firstPage * pageSize;
    const length = pages * pageSize;
    if (!(firstPage >= 0 && pages > 0 && offset + length <= this.#mapping.sizeBytes)) {
      throw new RangeError(`pages [${firstPage}, +${pages}) are not in RAM of ${this.#mapping.sizeBytes} bytes`);
    }
    requireFileBytes(region.fd, region.offset, length);
    if (pages < leastMappedPages) {
      readIntoMemory(region.fd, region.offset, this.#mapping.address + offset, length);
    } else {
      this.#mapping.overlay(region.fd, region.offset, offset, length);
    }
  }

  close(): void {
    this.#mapping.close();
  }
}

function mapRam(
  sizeBytes: number,
  backing: RamBacking | FileRegion,
): AnonymousMapping | MemfdMapping | PrivateFileMapping {
  if (backing === 'private') return new AnonymousMapping('guest RAM', sizeBytes);
  if (backing === 'shared') return new MemfdMapping('guest-ram', sizeBytes);
  requireFileBytes(backing.fd, backing.offset, sizeBytes);
  return new PrivateFileMapping('guest RAM', backing.fd, backing.offset, sizeBytes);
}

/** RAM at an address of this process, laid out and with nothing marked. */
export function shareRam(address: number, sizeBytes: number): SharedRam {
  const regions = layOutRam(sizeBytes);
  return {
    address,
    regions,
    written: regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize).storage),
    tracking: new SharedArrayBuffer(4),
  };
}

/** The same RAM, in any thread. */
export function viewRam(shared: SharedRam): GuestMemory {
  return new GuestMemory(
    shared.regions.map((region, index) => ({
      ...region,
      address: hva(shared.address + region.offset),
      windows: viewWindows(shared.address + region.offset, region.sizeBytes),
      written: new DirtyBitmap(region.sizeBytes / pageSize, shared.written[index]),
    })),
    new Int32Array(shared.tracking),
  );
}

/** A KVM memory slot for each region, of the same number. */
export function slotsOf(memory: GuestMemory): MemorySlot[] {
  return memory.regions.map((region, slot) => ({
    slot,
    guestAddress: region.start,
    sizeBytes: region.sizeBytes,
    hostAddress: region.address,
  }));
}
