import { type CpuFeature, cpuFeatures } from '../config/cpu-features.ts';

type Register = CpuFeature['register'];

/** One answer of the CPUID instruction. */
export interface CpuidAnswer extends Readonly<Record<Register, number>> {
  readonly function: number;
  readonly index: number;
}

/** The processor that a guest was told it has. */
export interface GuestProcessor {
  readonly cpuid: readonly CpuidAnswer[];
  /** What its time stamp counter runs at. */
  readonly tscKhz: number;
}

/** What a host can give a guest. */
export interface HostProcessor {
  /** KVM_GET_SUPPORTED_CPUID, and what a vCPU shows that was given it: a leaf may come twice, and has the features of both. */
  readonly cpuid: readonly CpuidAnswer[];
  readonly tscKhz: number;
  /** KVM_CAP_TSC_CONTROL: a guest's TSC can run at another frequency than the host's. */
  readonly scalesTsc: boolean;
  /** KVM_CAP_TSC_DEADLINE_TIMER, which is in no CPUID that KVM tells. */
  readonly tscDeadline: boolean;
}

/** Frequencies that differ by less than this are the same oscillator measured twice. */
const sameFrequencyPpm = 250;

/** Whether two frequencies, in kHz, are the same oscillator's, measured twice. */
export function isSameFrequency(left: number, right: number): boolean {
  return Math.abs(left - right) * 1e6 <= right * sameFrequencyPpm;
}

/**
 * Registers of CPUID in which each bit is a feature: one that a guest has seen must be there. Left out are bits that follow
 * registers of the guest's (APIC, OSXSAVE, OSPKE, MONITOR) and those that the VMM sets whatever the host is
 * (hypervisor, HTT, CMP_LEGACY, TSC deadline). Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; KVM's own features.
 */
const featureRegisters: readonly {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: Register;
  readonly leftOut?: number;
}[] = [
  { leaf: 1, subleaf: 0, register: 'ecx', leftOut: (1 << 3) | (1 << 24) | (1 << 27) | (1 << 31) },
  { leaf: 1, subleaf: 0, register: 'edx', leftOut: (1 << 9) | (1 << 28) },
  { leaf: 7, subleaf: 0, register: 'ebx' },
  { leaf: 7, subleaf: 0, register: 'ecx', leftOut: 1 << 4 },
  { leaf: 7, subleaf: 0, register: 'edx' },
  { leaf: 7, subleaf: 1, register: 'eax' },
  { leaf: 0xd, subleaf: 0, register: 'eax' },
  { leaf: 0xd, subleaf: 0, register: 'edx' },
  { leaf: 0xd, subleaf: 1, register: 'eax' },
  { leaf: 0x4000_0001, subleaf: 0, register: 'eax' },
  { leaf: 0x8000_0001, subleaf: 0, register: 'ecx', leftOut: 1 << 1 },
  { leaf: 0x8000_0001, subleaf: 0, register: 'edx', leftOut: 1 << 9 },
  { leaf: 0x8000_0007, subleaf: 0, register: 'edx' },
  { leaf: 0x8000_0008, subleaf: 0, register: 'ebx' },
];

/**
 * Why a guest with that processor cannot run on that host, in words that end in what to do; undefined if it can. Pure: what
 * a load and a pairing of two hosts ask.
 */
export function processorMismatch(guest: GuestProcessor, host: HostProcessor): string | undefined {
  const [told, here] = [vendorOf(guest.cpuid), vendorOf(host.cpuid)];
  if (told !== here) {
    return `is that of a processor of ${told}, and the one here is of ${here}: it runs on hosts with the former only`;
  }
  const missing = missingFeatures(guest, host);
  const named = missing.filter((name) => Object.hasOwn(cpuFeatures, name));
  if (missing.length > 0) {
    const remedy =
      named.length < missing.length
        ? 'run it on a host that has them'
        : `run it on a host that has them, or start it with --cpu-mask ${named.join(',')}`;
    return `has features that the processor here or its KVM has not: ${missing.join(', ')}; ${remedy}`;
  }
  const invariant = cpuFeatures.constant_tsc as CpuFeature;
  if (has(guest.cpuid, invariant) && !isSameFrequency(guest.tscKhz, host.tscKhz) && !host.scalesTsc) {
    return (
      `tells of a TSC that always runs at ${guest.tscKhz} kHz, and the one here runs at ${host.tscKhz} kHz and cannot be scaled; ` +
      'run it on a host whose TSC can, or start it with --cpu-mask constant_tsc'
    );
  }
  return undefined;
}

/** Names of all features that a CPUID shows a guest, or a host could show; those that no flag hides begin with `CPUID `. */
export function featureNames(cpuid: readonly CpuidAnswer[], tscDeadline: boolean): string[] {
  const host: HostProcessor = { cpuid: [], tscKhz: 0, scalesTsc: false, tscDeadline: false };
  const names = missingFeatures({ cpuid, tscKhz: 0 }, host);
  const deadline = nameOf(cpuFeatures.tsc_deadline_timer as CpuFeature);
  const others = names.filter((name) => name !== deadline);
  return tscDeadline ? [...others, deadline] : others;
}

/** A guest was told that it has the timer of the TSC. */
export function showsTscDeadline(cpuid: readonly CpuidAnswer[]): boolean {
  return has(cpuid, cpuFeatures.tsc_deadline_timer as CpuFeature);
}

function missingFeatures(guest: GuestProcessor, host: HostProcessor): string[] {
  const missing: string[] = [];
  for (const { leaf, subleaf, register, leftOut = 0 } of featureRegisters) {
    const lacking = bits(guest.cpuid, leaf, subleaf, register) & ~bits(host.cpuid, leaf, subleaf, register) & ~leftOut;
    for (let bit = 0; bit < 32; bit++) {
      if ((lacking & (1 << bit)) !== 0) missing.push(nameOf({ leaf, subleaf, register, bit }));
    }
  }
  const deadline = cpuFeatures.tsc_deadline_timer as CpuFeature;
  if (has(guest.cpuid, deadline) && !host.tscDeadline) missing.push(nameOf(deadline));
  return missing;
}

function nameOf({ leaf, subleaf, register, bit }: CpuFeature): string {
  for (const [name, feature] of Object.entries(cpuFeatures)) {
    const { leaf: itsLeaf, subleaf: itsSubleaf, register: itsRegister, bit: itsBit } = feature;
    if (itsLeaf === leaf && itsSubleaf === subleaf && itsRegister === register && itsBit === bit) return name;
  }
  return `CPUID 0x${leaf.toString(16)}.${subleaf} ${register} bit ${bit}`;
}

function has(cpuid: readonly CpuidAnswer[], { leaf, subleaf, register, bit }: CpuFeature): boolean {
  return (bits(cpuid, leaf, subleaf, register) & (1 << bit)) !== 0;
}

function bits(cpuid: readonly CpuidAnswer[], leaf: number, subleaf: number, register: Register): number {
  const rows = cpuid.filter((row) => row.function === leaf && row.index === subleaf);
  return rows.reduce((all, row) => all | row[register], 0);
}

/** Who made a processor: the twelve characters of leaf 0. */
export function vendorOf(cpuid: readonly CpuidAnswer[]): string {
  return String.fromCharCode(
    ...(['ebx', 'edx', 'ecx'] as const).flatMap((register) => {
      const word = bits(cpuid, 0, 0, register);
      return [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff);
    }),
  ).replace(/[^ -~]/g, '?');
}
