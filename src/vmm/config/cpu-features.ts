/** Where CPUID reports a feature. */
export interface CpuFeature {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: 'eax' | 'ebx' | 'ecx' | 'edx';
  readonly bit: number;
}

function feature(leaf: number, register: CpuFeature['register'], bit: number, subleaf = 0): CpuFeature {
  return { leaf, subleaf, register, bit };
}

/** Features that a user may hide by name, as /proc/cpuinfo spells them. Intel SDM vol. 2, CPUID; AMD APM vol. 3, E. */
export const cpuFeatures: Readonly<Record<string, CpuFeature>> = {
  sse3: feature(1, 'ecx', 0),
  pclmulqdq: feature(1, 'ecx', 1),
  monitor: feature(1, 'ecx', 3),
  vmx: feature(1, 'ecx', 5),
  ssse3: feature(1, 'ecx', 9),
  fma: feature(1, 'ecx', 12),
  cx16: feature(1, 'ecx', 13),
  pcid: feature(1, 'ecx', 17),
  sse4_1: feature(1, 'ecx', 19),
  sse4_2: feature(1, 'ecx', 20),
  x2apic: feature(1, 'ecx', 21),
  movbe: feature(1, 'ecx', 22),
  popcnt: feature(1, 'ecx', 23),
  tsc_deadline_timer: feature(1, 'ecx', 24),
  aes: feature(1, 'ecx', 25),
  xsave: feature(1, 'ecx', 26),
  osxsave: feature(1, 'ecx', 27),
  avx: feature(1, 'ecx', 28),
  f16c: feature(1, 'ecx', 29),
  rdrand: feature(1, 'ecx', 30),
  mtrr: feature(1, 'edx', 12),
  fsgsbase: feature(7, 'ebx', 0),
  bmi1: feature(7, 'ebx', 3),
  hle: feature(7, 'ebx', 4),
  avx2: feature(7, 'ebx', 5),
  smep: feature(7, 'ebx', 7),
  bmi2: feature(7, 'ebx', 8),
  erms: feature(7, 'ebx', 9),
  invpcid: feature(7, 'ebx', 10),
  rtm: feature(7, 'ebx', 11),
  avx512f: feature(7, 'ebx', 16),
  rdseed: feature(7, 'ebx', 18),
  adx: feature(7, 'ebx', 19),
  smap: feature(7, 'ebx', 20),
  clflushopt: feature(7, 'ebx', 23),
  clwb: feature(7, 'ebx', 24),
  sha_ni: feature(7, 'ebx', 29),
  umip: feature(7, 'ecx', 2),
  pku: feature(7, 'ecx', 3),
  waitpkg: feature(7, 'ecx', 5),
  vaes: feature(7, 'ecx', 9),
  vpclmulqdq: feature(7, 'ecx', 10),
  la57: feature(7, 'ecx', 16),
  rdpid: feature(7, 'ecx', 22),
  xsaveopt: feature(0xd, 'eax', 0, 1),
  xsavec: feature(0xd, 'eax', 1, 1),
  xsaves: feature(0xd, 'eax', 3, 1),
  svm: feature(0x8000_0001, 'ecx', 2),
  sse4a: feature(0x8000_0001, 'ecx', 6),
  topoext: feature(0x8000_0001, 'ecx', 22),
  pdpe1gb: feature(0x8000_0001, 'edx', 26),
  rdtscp: feature(0x8000_0001, 'edx', 27),
  constant_tsc: feature(0x8000_0007, 'edx', 8),
};

/** Leaf 0xd describes the XSAVE area and means nothing without it. */
export const xsaveLeaf = 0xd;
