/** What a VMM has used since its start. */
export interface Usage {
  /** User and system time of all its threads; guest time is user time. */
  readonly cpuSeconds: number;
  /** Exits from the guest to KVM, those that KVM handles by itself included. */
  readonly exits: number;
  /** Of them, device registers that the VMM serves. */
  readonly mmioExits: number;
}

/** Clock ticks a second in /proc: the same on every x86 Linux. */
const ticksPerSecond = 100;
const counters = ['exits', 'mmio_exits'] as const;

/** A host's shell command to run once: KVM's counters are files there. */
export const mountDebugfs = '[ -d /sys/kernel/debug/kvm ] || mount -t debugfs none /sys/kernel/debug';

/** A host's shell command that prints what {@link parseUsage} reads. KVM names a VM's folder after its process. */
export function usageCommand(pid: number): string {
  const counter = (name: string) => `echo ${name} $(cat /sys/kernel/debug/kvm/${pid}-*/${name} 2>/dev/null)`;
  return `cat /proc/${pid}/stat && ${counters.map(counter).join('; ')}`;
}

/** Counters that the host's kernel does not give are NaN. */
export function parseUsage(text: string): Usage {
  // The command's name, in brackets, may hold blanks and brackets itself. utime and stime are fields 14 and 15.
  const fields = text.slice(text.lastIndexOf(') ') + 2).split(/\s+/);
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (!/^\d+ \(/.test(text) || Number.isNaN(ticks)) throw new Error(`this is no /proc/PID/stat: ${text}`);
  const counter = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
  return { cpuSeconds: ticks / ticksPerSecond, exits: counter('exits'), mmioExits: counter('mmio_exits') };
}
