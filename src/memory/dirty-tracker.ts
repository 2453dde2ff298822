import type { Vm } from '../host/kvm/vm.ts';
import { viewMemory } from '../host/libc.ts';
import { MemfdMapping } from '../host/mapping.ts';
import { Owner } from '../host/ownership.ts';
import { pageSize } from './address.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import type { Ram } from './ram.ts';

/**
 * Which pages changed since the last look: what the guest wrote (KVM's dirty log) united with what this process
 * wrote for it (GuestMemory's own record, which KVM cannot see).
 *
 * The VM must have been made with manual dirty-log protection (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2): pages are
 * write-protected again by {@link collect}, only those that had been written.
 */
export class DirtyTracker {
  readonly #vm: Vm;
  readonly #ram: Ram;
  readonly #owner = new Owner();
  /** One bitmap a region, where KVM can write it. */
  readonly #logs: { readonly address: number; readonly words: Uint32Array }[];

  /** Starts tracking; pages count as clean from here on. */
  constructor(vm: Vm, ram: Ram) {
    this.#vm = vm;
    this.#ram = ram;
    try {
      this.#logs = ram.memory.regions.map((region) => {
        const bytes = Math.ceil(region.sizeBytes / pageSize / 64) * 8;
        const mapping = this.#owner.own(new MemfdMapping('dirty-log', bytes));
        return { address: mapping.address, words: new Uint32Array(viewMemory(mapping.address, bytes)) };
      });
      for (const slot of ram.slots) vm.setMemory(slot, true);
      this.#owner.defer(() => {
        ram.memory.tracking = false;
        for (const slot of ram.slots) vm.setMemory(slot, false);
      });
      ram.memory.tracking = true;
      for (const region of ram.memory.regions) region.written.clear();
      this.#drainLog(() => {});
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** The pages written since the last call, a bitmap for each region. The vCPUs should stand still. */
  collect(): DirtyBitmap[] {
    const dirty = this.#ram.memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
    this.#drainLog((region, words) => dirty[region]?.unite(words));
    this.#ram.memory.regions.forEach((region, index) => {
      region.written.drainInto(dirty[index] as DirtyBitmap);
    });
    return dirty;
  }

  /** Stops tracking. */
  close(): void {
    this.#owner.close();
  }

  #drainLog(visit: (region: number, words: Uint32Array) => void): void {
    this.#ram.memory.regions.forEach((region, slot) => {
      const log = this.#logs[slot];
      if (log === undefined) return;
      this.#vm.getDirtyLog(slot, log.address);
      visit(slot, log.words);
      this.#vm.clearDirtyLog(slot, region.sizeBytes / pageSize, log.address);
    });
  }
}
