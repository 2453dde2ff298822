import type { VcpuHandle, Vm } from '../../src/host/kvm/vm.ts';
import { struct, u32, u64 } from '../../src/host/layout.ts';
import { type IoctlRequest, ioctlNumber } from '../../src/host/libc/ioctl.ts';
import { MAP_SHARED, mmap, munmap, PROT_READ, PROT_WRITE, viewMemory } from '../../src/host/libc/memory.ts';
import type { Closable } from '../../src/host/ownership.ts';
import type { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';

/**
 * KVM's dirty ring (section 8.29), the other way to learn which pages a guest wrote. It is here and not in the VMM
 * because the log measured no worse: see docs/decisions.md, Memory.
 */

export const KVM_RESET_DIRTY_RINGS: IoctlRequest = { name: 'KVM_RESET_DIRTY_RINGS', number: 0xaec7 };
const KVM_DIRTY_LOG_PAGE_OFFSET = 64;

export const kvmDirtyGfn = struct('kvm_dirty_gfn', { flags: u32, slot: u32, offset: u64 });
const wordsPerEntry = kvmDirtyGfn.size / 4;
const dirtyFlag = 1;
const resetFlag = 2;

/** The ring of one vCPU. Its VM was made with {@link capability.dirtyLogRing} and the ring's bytes, before any vCPU. */
export class DirtyRing implements Closable {
  readonly #vm: Vm;
  readonly #address: number;
  readonly #sizeBytes: number;
  readonly #words: Int32Array;
  readonly #entries: number;
  #next = 0;

  constructor(vm: Vm, vcpu: VcpuHandle, sizeBytes: number) {
    this.#vm = vm;
    this.#sizeBytes = sizeBytes;
    const place = KVM_DIRTY_LOG_PAGE_OFFSET * 4096;
    this.#address = mmap(sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd, place, 'dirty ring');
    this.#words = new Int32Array(viewMemory(this.#address, sizeBytes));
    this.#entries = sizeBytes / kvmDirtyGfn.size;
  }

  /** Adds the pages written since the last call to `dirty`, a bitmap for each slot; gives the entries back to KVM. */
  collect(dirty: readonly DirtyBitmap[]): number {
    const words = this.#words;
    let found = 0;
    for (;;) {
      const entry = this.#next * wordsPerEntry;
      if ((Atomics.load(words, entry) & dirtyFlag) === 0) break;
      // The upper half of the slot names an address space, which is always 0 here; no slot has 2^32 pages.
      dirty[(words[entry + 1] as number) & 0xffff]?.mark(words[entry + 2] as number);
      Atomics.store(words, entry, resetFlag);
      this.#next = (this.#next + 1) % this.#entries;
      found++;
    }
    if (found > 0) ioctlNumber(this.#vm.fd, KVM_RESET_DIRTY_RINGS.number, 0);
    return found;
  }

  close(): void {
    munmap(this.#address, this.#sizeBytes);
  }
}
