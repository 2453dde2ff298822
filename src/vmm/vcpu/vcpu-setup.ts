import type { BootRegisters } from '../../../firmware/boot-registers.ts';
import type { Segment } from '../../../firmware/gdt.ts';
import { kvmFpu, kvmRegs, type kvmSegment } from '../../host/kvm/abi.ts';
import type { BasicRegisters, Msr } from '../../host/kvm/basic-registers.ts';
import type { CpuidEntry } from '../../host/kvm/kvm-device.ts';
import { VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import type { VcpuHandle } from '../../host/kvm/vm.ts';
import type { ViewOf } from '../../host/layout.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { pageSize } from '../../memory/address.ts';

/**
 * Whether this host's KVM holds and sets the TSC of a guest, asked of a vCPU that has not run. Its TSC begins at 0, by an
 * offset to the host's that is not 0, unless KVM gives guests the host's TSC whatever it is told.
 */
export function keepsTsc(vcpu: VcpuHandle): boolean {
  const scratch = new AnonymousMapping('ioctl scratch', pageSize);
  try {
    const offset = new VcpuRegisters(vcpu, scratch).tscOffset;
    return offset !== undefined && offset !== 0n;
  } finally {
    scratch.close();
  }
}

/** MSRs as a PC's firmware leaves them (Intel SDM vol. 4). */
const bootMsrs: readonly Msr[] = [
  ...[
    0x174,
    0x175,
    0x176, // SYSENTER_CS, _ESP, _EIP
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084, // STAR, LSTAR, CSTAR, SYSCALL_MASK
    0xc000_0102, // KERNEL_GS_BASE
  ].map((index) => ({ index, value: 0n })),
  { index: 0x1a0, value: 1n }, // MISC_ENABLE: fast strings
  { index: 0x2ff, value: 0x806n }, // MTRR_DEF_TYPE: enabled, write-back; without it some kernels map RAM uncached
];

/** Local APIC register offsets and delivery modes (Intel SDM vol. 3, 11.5.1). */
const LVT_LINT0 = 0x350;
const LVT_LINT1 = 0x360;
const DELIVERY_NMI = 4 << 8;
const DELIVERY_EXTINT = 7 << 8;

/** Reset values of the x87 control word and MXCSR. */
const resetFcw = 0x37f;
const resetMxcsr = 0x1f80;

/**
 * Brings a fresh vCPU to the state a kernel expects. `boot` is for vCPU 0; the others wait for their start-up IPI.
 * CPUID comes first: MSRs depend on it.
 */
export function setUpVcpu(vcpu: BasicRegisters, cpuid: readonly CpuidEntry[], boot: BootRegisters | undefined): void {
  vcpu.writeCpuid(cpuid.map((entry) => entry.$bytes));
  const [refused] = vcpu.writeMsrs(bootMsrs);
  if (refused !== undefined) throw new Error(`vcpu ${vcpu.index} refuses MSR 0x${refused.index.toString(16)}`);
  const fpu = kvmFpu.allocate();
  fpu.fcw = resetFcw;
  fpu.mxcsr = resetMxcsr;
  vcpu.fpu = fpu;
  const lapic = vcpu.lapic;
  const registers = new DataView(lapic.$bytes.buffer, lapic.$bytes.byteOffset);
  registers.setUint32(LVT_LINT0, DELIVERY_EXTINT, true);
  registers.setUint32(LVT_LINT1, DELIVERY_NMI, true);
  vcpu.lapic = lapic;
  if (boot !== undefined) setBootRegisters(vcpu, boot);
}

function setBootRegisters(vcpu: BasicRegisters, boot: BootRegisters): void {
  const regs = kvmRegs.allocate();
  regs.rip = BigInt(boot.rip);
  regs.rsp = BigInt(boot.rsp);
  regs.rsi = BigInt(boot.rsi);
  regs.rbx = BigInt(boot.rbx);
  regs.rflags = BigInt(boot.rflags);
  vcpu.regs = regs;

  const sregs = vcpu.sregs;
  sregs.cr0 = BigInt(boot.cr0);
  sregs.cr3 = BigInt(boot.cr3);
  sregs.cr4 = BigInt(boot.cr4);
  sregs.efer = BigInt(boot.efer);
  for (const name of ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr'] as const) setSegment(sregs[name], boot[name]);
  for (const name of ['gdt', 'idt'] as const) {
    sregs[name].base = BigInt(boot[name].base);
    sregs[name].limit = boot[name].limit;
  }
  vcpu.sregs = sregs;
}

function setSegment(target: ViewOf<typeof kvmSegment>, segment: Segment): void {
  const { base, ...rest } = segment;
  target.base = BigInt(base);
  Object.assign(target, rest);
}
