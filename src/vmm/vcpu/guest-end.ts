/** General and control registers of a vCPU that stopped for a bad reason, by name. */
export type RegisterDump = Readonly<Record<string, bigint>>;

/** How a guest's life ended. */
export type GuestEnd =
  | { readonly kind: 'power-off' }
  /** The guest's own doing, or somebody's who is named. */
  | { readonly kind: 'reset'; readonly by?: string }
  /** Its kernel says that it has panicked. */
  | { readonly kind: 'panic' }
  /** An exception while delivering a double fault; also what `reboot=t` does on purpose. */
  | { readonly kind: 'triple-fault'; readonly vcpu: number; readonly registers: RegisterDump }
  /** KVM gave up, most often because it met an instruction that it cannot emulate. */
  | {
      readonly kind: 'internal-error';
      readonly vcpu: number;
      readonly suberror: number;
      readonly data: readonly bigint[];
      readonly registers: RegisterDump;
    }
  /** The processor refused the guest's state. */
  | { readonly kind: 'entry-failure'; readonly vcpu: number; readonly reason: bigint; readonly registers: RegisterDump }
  | { readonly kind: 'unknown-exit'; readonly vcpu: number; readonly reason: number; readonly registers: RegisterDump }
  /** Somebody outside asked: a signal, the console's escape, the monitor. `vmmOnly`: it is this VMM that ends, not the guest. */
  | { readonly kind: 'stopped'; readonly by: string; readonly exitCode: number; readonly vmmOnly?: boolean }
  /** A thread of ours failed. */
  | { readonly kind: 'vmm-failure'; readonly what: string };

/** Who stops a machine whose snapshot was to be its end. */
export const snapshotStop = 'a snapshot';

/** Exit codes of `colo-vmm run`. Signals give 128 + number, as in a shell. */
export const exitCode = {
  powerOff: 0,
  failure: 1,
  crash: 2,
  reset: 3,
  panic: 4,
  handedOver: 5,
  /** Nothing was begun: who goes on with this guest could not be asked. */
  arbiterSilent: 6,
} as const;

/** The process's exit code for an end. */
export function exitCodeOf(end: GuestEnd): number {
  switch (end.kind) {
    case 'power-off':
      return exitCode.powerOff;
    case 'reset':
      return exitCode.reset;
    case 'panic':
      return exitCode.panic;
    case 'stopped':
      return end.exitCode;
    case 'vmm-failure':
      return exitCode.failure;
    case 'triple-fault':
    case 'internal-error':
    case 'entry-failure':
    case 'unknown-exit':
      return exitCode.crash;
    default:
      return end satisfies never;
  }
}

/** One line for a person. */
export function describeEnd(end: GuestEnd): string {
  switch (end.kind) {
    case 'power-off':
      return 'the guest powered off';
    case 'reset':
      return end.by === undefined ? 'the guest asked for a reboot' : `reset by ${end.by}`;
    case 'panic':
      return "the guest's kernel panicked";
    case 'triple-fault':
      return `vcpu ${end.vcpu} triple-faulted: the guest crashed so hard that it could not report it`;
    case 'internal-error':
      return `KVM internal error on vcpu ${end.vcpu}, suberror ${end.suberror}${suberrorNames[end.suberror] ?? ''}`;
    case 'entry-failure':
      return `the processor refused to enter vcpu ${end.vcpu}, hardware reason 0x${end.reason.toString(16)}`;
    case 'unknown-exit':
      return `vcpu ${end.vcpu} left the guest for a reason this VMM does not know: exit ${end.reason}`;
    case 'stopped':
      return `stopped by ${end.by}`;
    case 'vmm-failure':
      return end.what;
    default:
      return end satisfies never;
  }
}

/** KVM API section 5, KVM_EXIT_INTERNAL_ERROR. */
const suberrorNames: Readonly<Record<number, string>> = {
  1: ' (an instruction that KVM could not emulate)',
  2: ' (two exceptions at once while delivering an event)',
  3: ' (an exit while delivering an event)',
  4: ' (an exit reason that KVM does not know)',
};

/** Registers, data and the guest's last words, for an end that needs an explanation; otherwise nothing. */
export function crashReport(end: GuestEnd, consoleTail: string): string[] {
  if (!('registers' in end)) return [];
  const lines: string[] = wasReset(end.registers)
    ? ['registers: not known: KVM has reset the vCPU, as it does at a triple fault on AMD processors']
    : registerLines(end.registers);
  if (end.kind === 'internal-error' && end.data.length > 0) {
    lines.push(`internal error data: ${end.data.map((word) => `0x${word.toString(16)}`).join(' ')}`);
  }
  if (consoleTail.length > 0) lines.push('last bytes of the console:', ...consoleTail.trimEnd().split('\n').slice(-20));
  return lines;
}

const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;
const CR0_ET = 1n << 4n;

/** Whether the vCPU is as it begins after a reset (Intel SDM 3A, table 10-1), and not where the guest crashed. */
function wasReset({ rip, cs, cr0 = 0n }: RegisterDump): boolean {
  return rip === 0xfff0n && cs === 0xf000n && (cr0 & ~(CR0_NW | CR0_CD)) === CR0_ET;
}

function registerLines(registers: RegisterDump): string[] {
  const lines = ['registers:'];
  const cells = Object.entries(registers).map(
    ([name, value]) => `${name.padStart(6)} ${value.toString(16).padStart(16, '0')}`,
  );
  for (let index = 0; index < cells.length; index += 4) lines.push(`  ${cells.slice(index, index + 4).join('  ')}`);
  return lines;
}
