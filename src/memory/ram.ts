import type { MemorySlot } from '../host/kvm/vm.ts';
import { MemfdMapping, viewWindows } from '../host/mapping.ts';
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

/** Guest RAM: one memfd for all regions, mapped once. It costs nothing until it is touched. */
export class Ram implements Closable {
  readonly memory: GuestMemory;
  readonly shared: SharedRam;
  readonly #mapping: MemfdMapping;

  /** @param sizeBytes a multiple of the page size */
  constructor(sizeBytes: number) {
    if (sizeBytes % pageSize !== 0) throw new RangeError(`RAM of ${sizeBytes} bytes is not a whole number of pages`);
    this.#mapping = new MemfdMapping('guest-ram', sizeBytes);
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
      address: hva(shared.address + region.fileOffset),
      windows: viewWindows(shared.address + region.fileOffset, region.sizeBytes),
      written: new DirtyBitmap(region.sizeBytes / pageSize, shared.written[index]),
    })),
    new Int32Array(shared.tracking),
  );
}
