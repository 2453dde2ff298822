import type { BootRegisters } from '../../../firmware/boot-registers.ts';
import { PciHost, pciHostState } from '../../devices/pci-host.ts';
import { Serial } from '../../devices/serial.ts';
import { serialState } from '../../devices/serial-state.ts';
import { BasicRegisters } from '../../host/kvm/basic-registers.ts';
import type { CpuidEntry, KvmDevice } from '../../host/kvm/kvm-device.ts';
import { Owner } from '../../host/ownership.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { identityMapAddress, kvmTssAddress } from '../../memory/layout.ts';
import { setUpVcpu } from '../vcpu/vcpu-setup.ts';
import type { MachineState } from './machine-state.ts';
import { PauseTimes } from './pause-times.ts';
import { StateAccess } from './state-access.ts';

/** What a machine must have that is to begin. */
export interface FreshMachine {
  readonly kvm: KvmDevice;
  /** CPUID of each vCPU. */
  readonly cpuid: readonly (readonly CpuidEntry[])[];
  /** Of vCPU 0; the others wait for their start-up IPI. */
  readonly boot: BootRegisters;
  /** Of the machine; only its size is looked at. */
  readonly memory: GuestMemory;
}

/**
 * The state of a machine that has not run yet, without its virtio devices. KVM gives no vCPU, interrupt controller or timer
 * back as it was made, so another VM is made, without memory, to be asked for it.
 */
export function freshState({ kvm, cpuid, boot, memory }: FreshMachine): MachineState {
  const owner = new Owner();
  try {
    const vm = owner.own(kvm.createVm());
    vm.reserveForKvm(identityMapAddress, kvmTssAddress);
    vm.createIrqchip();
    vm.createPit();
    const vcpus = cpuid.map((entries, index) => {
      const handle = vm.createVcpu(index);
      setUpVcpu(new BasicRegisters(handle), entries, index === 0 ? boot : undefined);
      return handle;
    });
    const access = owner.own(
      new StateAccess({
        kvm,
        vm,
        vcpus,
        serial: new Serial(serialState(), { set: () => {} }, { ring: () => {} }),
        pciHost: new PciHost(pciHostState(), () => {}),
        io: undefined,
        memory,
      }),
    );
    return access.save(access.readClocks(), new PauseTimes());
  } finally {
    owner.close();
  }
}
