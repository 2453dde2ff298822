import { capability } from '../../host/kvm/abi.ts';
import { cpuidOf } from '../../host/kvm/cpuid-rows.ts';
import { KvmDevice } from '../../host/kvm/kvm-device.ts';
import { kvmXsave, stateCapability } from '../../host/kvm/state-abi.ts';
import { VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { Owner } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import type { HostProcessor } from './processor-match.ts';

/**
 * What this host can give a guest, asked of a VM that is made for it: a KVM that interprets guests shows them more than it says.
 *
 * @throws KvmUnavailableError, SystemError
 */
export function hostProcessor(): HostProcessor & { readonly xsaveBytes: number } {
  const owner = new Owner();
  try {
    const kvm = owner.own(new KvmDevice());
    const vm = owner.own(kvm.createVm());
    vm.createIrqchip();
    const handle = vm.createVcpu(0);
    const vcpu = new VcpuRegisters(handle, owner.own(new AnonymousMapping('ioctl scratch', pageSize)));
    const supported = kvm.supportedCpuid();
    vcpu.writeCpuid(supported.map((row) => row.$bytes));
    return {
      cpuid: [...supported, ...cpuidOf(handle)],
      tscKhz: vcpu.tscKhz,
      scalesTsc: kvm.check(stateCapability.tscControl) > 0,
      tscDeadline: vm.check(capability.tscDeadlineTimer) > 0,
      xsaveBytes: Math.max(vm.check(capability.xsave2), kvmXsave.size),
    };
  } finally {
    owner.close();
  }
}
