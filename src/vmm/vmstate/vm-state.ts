import { kvmIoapicState, kvmPicState, kvmPitState2 } from '../../host/kvm/state-abi.ts';
import type { VmRegisters } from '../../host/kvm/vm-registers.ts';
import { fromPlain, type Plain, toPlain, type ViewOf } from '../../host/layout.ts';

/** Interrupt controllers and the timer that all vCPUs share. */
export interface VmState {
  readonly picMaster: Plain<ViewOf<typeof kvmPicState>>;
  readonly picSlave: Plain<ViewOf<typeof kvmPicState>>;
  readonly ioapic: Plain<ViewOf<typeof kvmIoapicState>>;
  readonly pit: Plain<ViewOf<typeof kvmPitState2>>;
}

/** Reads what KVM keeps for the VM as a whole. All vCPUs and devices stand still. */
export function saveVm(vm: VmRegisters): VmState {
  const { picMaster, picSlave, ioapic } = vm.interruptControllers;
  return {
    picMaster: toPlain(kvmPicState, picMaster),
    picSlave: toPlain(kvmPicState, picSlave),
    ioapic: toPlain(kvmIoapicState, ioapic),
    pit: toPlain(kvmPitState2, vm.pit),
  };
}

/** Writes it. The PIT first, for it can raise a pin of the controllers. */
export function loadVm(vm: VmRegisters, state: VmState): void {
  vm.pit = fromPlain(kvmPitState2, state.pit);
  vm.interruptControllers = {
    picMaster: fromPlain(kvmPicState, state.picMaster),
    picSlave: fromPlain(kvmPicState, state.picSlave),
    ioapic: fromPlain(kvmIoapicState, state.ioapic),
  };
}
