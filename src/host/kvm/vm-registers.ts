import type { ViewOf } from '../layout.ts';
import { type Fd, ioctl } from '../libc.ts';
import {
  irqchipId,
  KVM_GET_CLOCK,
  KVM_GET_IRQCHIP,
  KVM_GET_PIT2,
  KVM_SET_CLOCK,
  KVM_SET_IRQCHIP,
  KVM_SET_PIT2,
  kvmClockData,
  kvmIoapicState,
  kvmIrqchip,
  kvmPicState,
  kvmPitState2,
} from './state-abi.ts';

/** The interrupt controllers of a VM that belong to no vCPU. */
export interface InterruptControllers {
  readonly picMaster: ViewOf<typeof kvmPicState>;
  readonly picSlave: ViewOf<typeof kvmPicState>;
  readonly ioapic: ViewOf<typeof kvmIoapicState>;
}

/** All that KVM shows of a VM besides its vCPUs. */
export class VmRegisters {
  readonly #fd: Fd;

  constructor(vm: Fd) {
    this.#fd = vm;
  }

  get interruptControllers(): InterruptControllers {
    return {
      picMaster: kvmPicState.over(this.#chip(irqchipId.picMaster)),
      picSlave: kvmPicState.over(this.#chip(irqchipId.picSlave)),
      ioapic: kvmIoapicState.over(this.#chip(irqchipId.ioapic)),
    };
  }

  set interruptControllers({ picMaster, picSlave, ioapic }: InterruptControllers) {
    this.#setChip(irqchipId.picMaster, picMaster.$bytes);
    this.#setChip(irqchipId.picSlave, picSlave.$bytes);
    this.#setChip(irqchipId.ioapic, ioapic.$bytes);
  }

  get pit(): ViewOf<typeof kvmPitState2> {
    const state = kvmPitState2.allocate();
    ioctl(this.#fd, KVM_GET_PIT2, state.$bytes, 'the PIT');
    return state;
  }

  set pit(state: ViewOf<typeof kvmPitState2>) {
    ioctl(this.#fd, KVM_SET_PIT2, state.$bytes, 'the PIT');
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

  #chip(id: number): Uint8Array {
    const request = kvmIrqchip.allocate();
    request.chip_id = id;
    ioctl(this.#fd, KVM_GET_IRQCHIP, request.$bytes, `interrupt controller ${id}`);
    return request.chip;
  }

  #setChip(id: number, chip: Uint8Array): void {
    const request = kvmIrqchip.allocate();
    request.chip_id = id;
    request.chip.set(chip);
    ioctl(this.#fd, KVM_SET_IRQCHIP, request.$bytes, `interrupt controller ${id}`);
  }
}
