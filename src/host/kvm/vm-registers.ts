import type { ViewOf } from '../layout.ts';
import type { Fd } from '../libc/descriptors.ts';
import { ioctl } from '../libc/ioctl.ts';
import {
  KVM_GET_CLOCK,
  KVM_GET_IRQCHIP,
  KVM_GET_PIT2,
  KVM_SET_CLOCK,
  KVM_SET_IRQCHIP,
  KVM_SET_PIT2,
  kvmClockData,
} from './state-abi.ts';

/** Structs of a VM: interrupt controllers (kvm_irqchip) and PIT (kvm_pit_state2). */
export type VmPart = 'picMaster' | 'picSlave' | 'ioapic' | 'pit';

/** All that KVM shows of a VM besides its vCPUs. */
export class VmRegisters {
  readonly #fd: Fd;

  constructor(vm: Fd) {
    this.#fd = vm;
  }

  /** Fills a struct at an address of this process: a chip's says which one it is. No allocation. */
  read(part: VmPart, address: number): void {
    ioctl(this.#fd, part === 'pit' ? KVM_GET_PIT2 : KVM_GET_IRQCHIP, address, part);
  }

  /** Takes over the struct at an address of this process. No allocation. */
  write(part: VmPart, address: number): void {
    ioctl(this.#fd, part === 'pit' ? KVM_SET_PIT2 : KVM_SET_IRQCHIP, address, part);
  }

  /** The guest's paravirtual clock, and what the host's clocks showed at the same instant. */
  get clock(): ViewOf<typeof kvmClockData> {
    const clock = kvmClockData.allocate();
    ioctl(this.#fd, KVM_GET_CLOCK, clock.$bytes, 'the clock');
    return clock;
  }

  set clock(clock: ViewOf<typeof kvmClockData>) {
    ioctl(this.#fd, KVM_SET_CLOCK, clock.$bytes, 'the clock');
  }
}
