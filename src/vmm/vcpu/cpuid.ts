import { kvmCpuidEntry2 } from '../../host/kvm/abi.ts';
import type { CpuidEntry } from '../../host/kvm/kvm-device.ts';
import { type CpuFeature, cpuFeatures, xsaveLeaf } from '../config/cpu-features.ts';

const featureLeaf = 1;
const topologyLeaves = [0xb, 0x1f];
const performanceMonitoringLeaf = 0xa;
const amdFeatureLeaf = 0x8000_0001;
const amdSizesLeaf = 0x8000_0008;
const amdTopologyLeaf = 0x8000_001e;
const kvmFeatureLeaf = 0x4000_0001;

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX */
const significantIndex = 1;

const hypervisorBit = 1 << 31;
const tscDeadlineBit = 1 << 24;
const hyperThreadingBit = 1 << 28;
/** KVM_FEATURE_ASYNC_PF, _ASYNC_PF_VMEXIT, _ASYNC_PF_INT and _STEAL_TIME: they let KVM write guest memory by itself. */
const asynchronousWritesByKvm = (1 << 4) | (1 << 10) | (1 << 14) | (1 << 5);

/** What the guest's CPUID depends on besides the processor. */
export interface CpuidOptions {
  /** vCPUs of the machine. */
  readonly cpus: number;
  /** KVM can emulate the local APIC's TSC-deadline mode (KVM_CAP_TSC_DEADLINE_TIMER). */
  readonly tscDeadline: boolean;
  /** The guest's TSC can be held and set: only then is it told that its TSC is invariant. */
  readonly keepsTsc: boolean;
  /** Names of {@link cpuFeatures} to hide. */
  readonly mask: readonly string[];
}

/** Hidden from every guest: nested virtualisation would add state to save, monitor and waitpkg idle the host's way. */
const alwaysHidden = ['vmx', 'svm', 'monitor', 'waitpkg'];

/**
 * CPUID of vCPU `index`, from what KVM supports on this machine. Each vCPU is a core of one socket, and its number is
 * its APIC id.
 */
export function guestCpuid(supported: readonly CpuidEntry[], index: number, options: CpuidOptions): CpuidEntry[] {
  const entries = supported
    .filter((entry) => !topologyLeaves.includes(entry.function))
    .map((entry) => kvmCpuidEntry2.over(entry.$bytes.slice(0, kvmCpuidEntry2.size)));
  const leaf = (number: number, subleaf = 0): CpuidEntry | undefined =>
    entries.find((entry) => entry.function === number && entry.index === subleaf);

  const features = leaf(featureLeaf);
  if (features !== undefined) {
    features.ebx = ((index << 24) | (options.cpus << 16) | (features.ebx & 0xffff)) >>> 0;
    features.ecx = (features.ecx | hypervisorBit | (options.tscDeadline ? tscDeadlineBit : 0)) >>> 0;
    if (options.cpus > 1) features.edx = (features.edx | hyperThreadingBit) >>> 0;
  }
  const highestBasicLeaf = leaf(0)?.eax ?? 0;
  for (const number of topologyLeaves) {
    if (number <= highestBasicLeaf) entries.push(...topology(number, index, options.cpus));
  }
  const sizes = leaf(amdSizesLeaf);
  if (sizes !== undefined) sizes.ecx = ((sizes.ecx & ~0xf0ff) | (options.cpus - 1)) >>> 0;
  const amdTopology = leaf(amdTopologyLeaf);
  if (amdTopology !== undefined) {
    amdTopology.eax = index;
    amdTopology.ebx = index;
    amdTopology.ecx = 0;
  }
  const kvmFeatures = leaf(kvmFeatureLeaf);
  if (kvmFeatures !== undefined) kvmFeatures.eax = (kvmFeatures.eax & ~asynchronousWritesByKvm) >>> 0;
  clearLeaf(leaf(performanceMonitoringLeaf));

  const hidden = [...alwaysHidden, ...(options.keepsTsc ? [] : ['constant_tsc']), ...options.mask];
  for (const name of hidden) hide(leaf, cpuFeatures[name]);
  if (options.mask.includes('xsave')) {
    for (const entry of entries) if (entry.function === xsaveLeaf) clearLeaf(entry);
  }
  const amdFeatures = leaf(amdFeatureLeaf);
  // CMP_LEGACY: more than one core in the socket, for guests that do not read leaf 0x8000001e.
  if (amdFeatures !== undefined && amdTopology !== undefined && options.cpus > 1) amdFeatures.ecx |= 1 << 1;
  return entries;
}

/** Extended topology (Intel SDM vol. 2, leaf 0xb): one thread a core, `cpus` cores, then the end. */
function topology(number: number, apicId: number, cpus: number): CpuidEntry[] {
  const threadLevel = 1;
  const coreLevel = 2;
  const coreIdBits = Math.ceil(Math.log2(cpus));
  return [
    { shift: 0, count: 1, type: threadLevel },
    { shift: coreIdBits, count: cpus, type: coreLevel },
    { shift: 0, count: 0, type: 0 },
  ].map(({ shift, count, type }, subleaf) => {
    const entry = kvmCpuidEntry2.allocate();
    entry.function = number;
    entry.index = subleaf;
    entry.flags = significantIndex;
    entry.eax = shift;
    entry.ebx = count;
    entry.ecx = (type << 8) | subleaf;
    entry.edx = apicId;
    return entry;
  });
}

function hide(
  leaf: (number: number, subleaf: number) => CpuidEntry | undefined,
  feature: CpuFeature | undefined,
): void {
  if (feature === undefined) return;
  const entry = leaf(feature.leaf, feature.subleaf);
  if (entry !== undefined) entry[feature.register] = (entry[feature.register] & ~(1 << feature.bit)) >>> 0;
}

function clearLeaf(entry: CpuidEntry | undefined): void {
  if (entry === undefined) return;
  entry.eax = 0;
  entry.ebx = 0;
  entry.ecx = 0;
  entry.edx = 0;
}
