import { DirtyLog } from '../host/kvm/dirty-log.ts';
import type { MemorySlot, Vm } from '../host/kvm/vm.ts';
import { Owner } from '../host/ownership.ts';
import { pageSize } from './address.ts';
import { DirtyBitmap, nextMarkedWord } from './dirty-bitmap.ts';
import type { GuestMemory } from './guest-memory.ts';

/** RAM whose slots KVM knows: slot n is region n. */
export interface SlottedRam {
  readonly memory: GuestMemory;
  readonly slots: readonly MemorySlot[];
}

/**
 * Which pages changed since the last look: what the guest wrote (KVM's dirty log) united with what this process
 * wrote for it (GuestMemory's own record, which KVM cannot see).
 *
 * The VM must have been made with manual dirty-log protection (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2): pages are
 * write-protected again by {@link collect}, only those that had been written.
 */
export class DirtyTracker {
  readonly #memory: GuestMemory;
  readonly #owner = new Owner();
  /** One a region. */
  readonly #logs: readonly DirtyLog[];

  /** Starts tracking; pages count as clean from here on. */
  constructor(vm: Vm, ram: SlottedRam) {
    this.#memory = ram.memory;
    try {
      this.#logs = ram.memory.regions.map((region, slot) =>
        this.#owner.own(new DirtyLog(vm, slot, region.sizeBytes / pageSize)),
      );
      for (const slot of ram.slots) vm.setMemory(slot, true);
      this.#owner.defer(() => {
        ram.memory.tracking = false;
        for (const slot of ram.slots) vm.setMemory(slot, false);
      });
      ram.memory.tracking = true;
      this.collect(this.emptyBitmaps());
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** A bitmap for each region, for {@link collect}. */
  emptyBitmaps(): DirtyBitmap[] {
    return this.#memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
  }

  /**
   * Adds the pages written since the last call to `dirty`, a bitmap for each region. The vCPUs should stand still. Hot
   * path: with bitmaps to reuse it allocates nothing.
   */
  collect(dirty: readonly DirtyBitmap[] = this.emptyBitmaps()): readonly DirtyBitmap[] {
    for (let region = 0; region < this.#logs.length; region++) {
      const log = this.#logs[region] as DirtyLog;
      const target = dirty[region] as DirtyBitmap;
      log.read();
      this.#takeLog(log, target);
      this.#memory.regions[region]?.written.drainInto(target);
    }
    return dirty;
  }

  /** Stops tracking. */
  close(): void {
    this.#owner.close();
  }

  /** Only the words from the first mark to the last are given back to KVM, and nothing if nothing is marked. */
  #takeLog(log: DirtyLog, target: DirtyBitmap): void {
    const words = log.words;
    const first = nextMarkedWord(words, 0);
    if (first === words.length) return;
    let last = first;
    for (let word = first; word < words.length; word = nextMarkedWord(words, word + 1)) {
      Atomics.or(target.words, word, words[word] as number);
      last = word;
    }
    log.clear(first, last);
  }
}
