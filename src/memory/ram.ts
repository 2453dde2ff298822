import type { MemorySlot } from '../host/kvm/vm.ts';
import { AnonymousMapping, MemfdMapping, viewWindows } from '../host/mapping.ts';
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

/** Guest RAM: one mapping for all regions, which costs nothing until it is touched. */
export class Ram implements Closable {
  readonly memory: GuestMemory;
  readonly shared: SharedRam;
  readonly #mapping: AnonymousMapping | MemfdMapping;

  /** @param sizeBytes a multiple of the page size */
  constructor(sizeBytes: number, backing: RamBacking = 'private') {
    if (sizeBytes % pageSize !== 0) throw new RangeError(`RAM of ${sizeBytes} bytes is not a whole number of pages`);
    this.#mapping =
      backing === 'shared' ? new MemfdMapping('guest-ram', sizeBytes) : new AnonymousMapping('guest RAM', sizeBytes);
    try {
      const regions = layOutRam(sizeBytes);
      this.shared = {
        address: this.#mapping.address,
        regions,
        written: regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize).storage),
        tracking: new SharedArrayBuffer(4),
      };
      this.memory = viewRam(this.shared);
    } catch (error) {
      this.#mapping.close();
      throw error;
    }
  }

  /** The regions as KVM's memory slots: slot n is region n. */
  get slots(): MemorySlot[] {
    return this.memory.regions.map((region, slot) => ({
      slot,
      guestAddress: region.start,
      sizeBytes: region.sizeBytes,
      hostAddress: region.address,
    }));
  }

  close(): void {
    this.#mapping.close();
  }
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
