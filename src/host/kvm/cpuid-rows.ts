import { ioctl } from '../libc/ioctl.ts';
import { kvmCpuid2, kvmCpuidEntry2 } from './abi.ts';
import type { CpuidEntry } from './kvm-device.ts';
import { KVM_GET_CPUID2 } from './state-abi.ts';
import type { VcpuHandle } from './vm.ts';

/** More rows than any table has. */
const mostRows = 256;

/** What the CPUID instruction tells on a vCPU (section 4.62). */
export function cpuidOf({ fd, index }: VcpuHandle): CpuidEntry[] {
  const table = kvmCpuid2.allocate(mostRows * kvmCpuidEntry2.size);
  table.nent = mostRows;
  ioctl(fd, KVM_GET_CPUID2, table.$bytes, `vcpu ${index}`);
  return Array.from({ length: table.nent }, (_, row) =>
    kvmCpuidEntry2.over(table.$bytes, kvmCpuid2.size + row * kvmCpuidEntry2.size),
  );
}
