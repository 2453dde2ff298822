/**
 * Which MSRs make up a vCPU's state: what KVM lists as such, less what must not travel, and some that it does not list.
 * Numbers are those of the Intel SDM, vol. 4, the AMD APM, vol. 2, appendix A, and of Linux, virt/kvm/x86/msr.
 */

export const msr = {
  tsc: 0x10,
  tscDeadline: 0x6e0,
  sysenterEsp: 0x175,
  sysenterEip: 0x176,
} as const;

/** [first, last] of those that are left out. */
const leftOut: readonly (readonly [number, number, string])[] = [
  [0x10, 0x10, 'the TSC, which is set with the clocks'],
  [0x6e0, 0x6e0, 'the TSC deadline, which is set when the TSC is'],
  [0x49, 0x49, 'PRED_CMD: write-only'],
  [0x17b, 0x17b, 'MCG_CTL: KVM has it only with machine checks'],
  [0xc1, 0xc8, 'performance counters, which guests do not see'],
  [0x186, 0x18d, 'performance event selects'],
  [0x309, 0x30b, 'fixed performance counters'],
  [0x38d, 0x390, 'control of performance counters'],
  [0x3f1, 0x3f1, 'PEBS'],
  [0x3f2, 0x3f2, 'PEBS'],
  [0x600, 0x600, 'DS area'],
  [0x480, 0x491, 'VMX capabilities, which guests do not see'],
  [0x4000_0000, 0x4000_ffff, 'Hyper-V, which guests do not see; some of it counts up'],
  [0xc001_0000, 0xc001_0007, 'AMD performance counters'],
  [0xc001_0200, 0xc001_020b, 'AMD extended performance counters'],
  [0xc000_0300, 0xc000_0302, 'AMD control of performance counters'],
];

/** Those that KVM does not list: the MTRRs, and all of kvmclock, steal time and asynchronous page faults. */
const added: readonly (readonly [number, number])[] = [
  [0x200, 0x20f],
  [0x250, 0x250],
  [0x258, 0x259],
  [0x268, 0x26f],
  [0x277, 0x277],
  [0x2ff, 0x2ff],
  [0x4b56_4d00, 0x4b56_4d08],
];

/**
 * The MSRs to save, in the order to load them in. KVM may still not know some of them for a vCPU that lacks the feature.
 *
 * @param listed what KVM_GET_MSR_INDEX_LIST says
 */
export function stateMsrs(listed: readonly number[]): number[] {
  const wanted = new Set(listed.filter((index) => !leftOut.some(([first, last]) => index >= first && index <= last)));
  for (const [first, last] of added) for (let index = first; index <= last; index++) wanted.add(index);
  return [...wanted].sort((a, b) => a - b);
}
