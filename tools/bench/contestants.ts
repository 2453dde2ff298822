import { xsaveFamily } from '../guest-flags.ts';
import { vmmInHost } from '../vmm-files.ts';

/** Where things lie inside the host that the benchmark runs in. */
export const guestFiles = {
  kernel: '/opt/guest/vmlinuz',
  initrd: '/opt/guest/initrd.cpio',
} as const;

/** The guest that every VMM boots. */
export interface GuestSpec {
  readonly cpus: number;
  readonly memoryMib: number;
  readonly commandLine: string;
  /** Hide the XSAVE family: emulated hosts do not keep its state right (docs/decisions.md). */
  readonly hideXsave: boolean;
}

export type Contestant = 'ours' | 'microvm' | 'pc';

/** Command lines that boot the same guest: same kernel, initrd, command line, vCPUs, memory, console. */
export function contestants(guest: GuestSpec): Record<Contestant, string[]> {
  const { cpus, memoryMib, commandLine, hideXsave } = guest;
  const processor = hideXsave
    ? ['host', ...xsaveFamily.filter((name) => name !== 'osxsave').map((name) => `-${name}`)].join(',')
    : 'host';
  const qemu = (machine: string): string[] => [
    'qemu-system-x86_64',
    ...['-machine', `${machine},accel=kvm`],
    ...['-cpu', processor, '-smp', String(cpus), '-m', String(memoryMib)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', guestFiles.kernel, '-initrd', guestFiles.initrd, '-append', commandLine],
  ];
  return {
    ours: [
      ...['node', vmmInHost, 'run', '--kernel', guestFiles.kernel, '--initrd', guestFiles.initrd],
      ...['--cmdline', commandLine, '--cpus', String(cpus), '--memory', `${memoryMib}M`],
      ...(hideXsave ? ['--cpu-mask', xsaveFamily.join(',')] : []),
    ],
    microvm: qemu('microvm'),
    pc: qemu('pc'),
  };
}
