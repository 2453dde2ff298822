import { readIntoMemory, requireFileBytes } from '../host/files/file-region.ts';
import type { MemorySlot } from '../host/kvm/vm.ts';
import { close, type Fd } from '../host/libc/descriptors.ts';
import { memfd } from '../host/libc/memory.ts';
import { SharedRange, windowsOf } from '../host/mappings/mapping.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import { hva, pageSize } from './address.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import { GuestMemory } from './guest-memory.ts';
import type { GuestRam, SharedRam } from './guest-ram.ts';
import { layOutRam } from './regions.ts';
import type { StagingArea } from './staging-area.ts';

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

/** Guest RAM: one range for all regions, which costs nothing until it is touched. */
export class Ram implements GuestRam {
  readonly memory: GuestMemory;
  shared: SharedRam;
  readonly #owner = new Owner();
  #range: SharedRange;
  readonly #isFile: boolean;
  readonly #isMemfd: boolean;

  /**
   * @param sizeBytes a multiple of the page size
   * @param backing a file's pages are read when they are first touched, and the file never changes
   */
  constructor(sizeBytes: number, backing: RamBacking | FileRegion = 'private') {
    if (sizeBytes % pageSize !== 0) throw new RangeError(`RAM of ${sizeBytes} bytes is not a whole number of pages`);
    this.#isFile = typeof backing === 'object';
    this.#isMemfd = backing === 'shared';
    if (typeof backing === 'object') requireFileBytes(backing.fd, backing.offset, sizeBytes);
    try {
      this.#range = this.#owner.own(new SharedRange('guest RAM', sizeBytes));
      if (backing === 'shared') {
        this.#backByMemfd(this.#range);
      } else if (typeof backing === 'object') {
        this.#range.mapFile('private', backing.fd, backing.offset);
      }
      this.shared = shareRam(this.#range);
      this.memory = viewRam(this.shared);
    } catch (error) {
      this.#owner.close();
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
    if (!this.#isFile) throw new TypeError('only RAM made of a file can be overlaid');
    const offset = firstPage * pageSize;
    const length = pages * pageSize;
    if (!(firstPage >= 0 && pages > 0 && offset + length <= this.#range.sizeBytes)) {
      throw new RangeError(`pages [${firstPage}, +${pages}) are not in RAM of ${this.#range.sizeBytes} bytes`);
    }
    requireFileBytes(region.fd, region.offset, length);
    if (pages < leastMappedPages) {
      readIntoMemory(region.fd, region.offset, this.#range.address + offset, length);
    } else {
      this.#range.mapFile('private', region.fd, region.offset, offset, length);
    }
  }

  load(staged: StagingArea): void {
    staged.forEachRun((place, firstNumber, pages) => {
      if ((firstNumber + pages) * pageSize > this.#range.sizeBytes) {
        throw new RangeError(`pages [${firstNumber}, +${pages}) are not in RAM of ${this.#range.sizeBytes} bytes`);
      }
      staged.copyOut(place, this.#range.address + firstNumber * pageSize, pages);
      this.memory.markPages(firstNumber, pages);
    });
  }

  clear(): void {
    this.#range.zero();
    this.memory.markAll();
  }

  move(): Closable {
    const old = this.#range;
    const moved = this.#owner.own(new SharedRange('guest RAM', old.sizeBytes));
    if (this.#isMemfd) this.#backByMemfd(moved);
    this.#range = moved;
    this.shared = movedRam(this, moved);
    return old;
  }

  close(): void {
    this.#owner.close();
  }

  #backByMemfd(range: SharedRange): void {
    const fd = memfd('guest-ram', range.sizeBytes);
    this.#owner.defer(() => close(fd));
    range.mapFile('shared', fd, 0);
  }
}

/** RAM in a range of addresses, laid out and with nothing marked. */
export function shareRam(range: SharedRange): SharedRam {
  const regions = layOutRam(range.sizeBytes);
  return {
    address: range.address,
    bytes: range.buffer,
    start: range.start,
    regions,
    written: regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize).storage),
    tracking: new SharedArrayBuffer(4),
  };
}

/** Has RAM be what lies in `range`, all of it new to whoever tracks pages. The marks stay where they are. */
export function movedRam({ memory, shared }: Pick<GuestRam, 'memory' | 'shared'>, range: SharedRange): SharedRam {
  const { written, tracking } = shared;
  const moved = { ...shareRam(range), written, tracking };
  memory.adopt(viewRam(moved));
  memory.markAll();
  return moved;
}

/** The same RAM, in any thread. */
export function viewRam({ address, bytes, start, regions, written, tracking }: SharedRam): GuestMemory {
  return new GuestMemory(
    regions.map((region, index) => ({
      ...region,
      address: hva(address + region.offset),
      windows: windowsOf(
        region.sizeBytes,
        (offset, length) => new Uint8Array(bytes, start + region.offset + offset, length),
      ),
      written: new DirtyBitmap(region.sizeBytes / pageSize, written[index]),
    })),
    new Int32Array(tracking),
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
