import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { StateImage } from './state-image.ts';

/**
 * MSRs of kvmclock that tell KVM where in RAM the guest wants what (Linux, virt/kvm/x86/msr), old and new numbers: the wall
 * clock (struct pvclock_wall_clock) and the time of a vCPU (struct pvclock_vcpu_time_info). Bytes of each.
 */
const clockBytes: Readonly<Record<number, number>> = {
  17: 12,
  1263947008: 12,
  18: 32,
  1263947009: 32,
};
/** In the address of a vCPU's time: it is on. Both structures are aligned to 4 bytes. */
const enabled = 1n;

/**
 * Keeps what kvmclock has in guest RAM as it is while a state is loaded. KVM writes there as it is given MSRs and clocks, and
 * RAM after a load is to be the RAM that was saved: the two sides of a checkpoint are compared. KVM writes the time of a vCPU
 * again when that runs, and a guest reads the wall clock when it asks for it and never again.
 */
export class ClockPages {
  readonly #memory: GuestMemory;
  #kept: { readonly address: number; readonly bytes: Uint8Array }[] = [];

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /** Looks where a machine in this state has its clocks, and keeps what is there. */
  keep(image: StateImage): void {
    for (let vcpu = 0; vcpu < image.shape.cpus; vcpu++) {
      const rows = image.rows(vcpu, 'msrs');
      for (let row = 0; row < rows; row++) {
        const length = clockBytes[image.msrIndex(vcpu, row)];
        if (length !== undefined) this.#keepAt(Number(image.msrValue(vcpu, row) & ~enabled), length);
      }
    }
  }

  /** Puts back what was kept. */
  restore(): void {
    for (const { address, bytes } of this.#kept) {
      if (Buffer.compare(this.#memory.slice(gpa(address), bytes.length), bytes) !== 0) {
        this.#memory.write(gpa(address), bytes);
      }
    }
    this.#kept = [];
  }

  #keepAt(address: number, length: number): void {
    if (address === 0 || this.#kept.some((kept) => kept.address === address)) return;
    if (this.#memory.reaches(address, length)) {
      this.#kept.push({ address, bytes: Uint8Array.from(this.#memory.slice(gpa(address), length)) });
    } else if (length > 1) {
      // Across the end of RAM KVM writes what there is.
      for (let at = address; at < address + length; at++) this.#keepAt(at, 1);
    }
  }
}
