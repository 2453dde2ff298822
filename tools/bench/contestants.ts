import { guestCpuFlags, xsaveFamily } from '../guest-flags.ts';
import type { LabMode } from '../lab/mode.ts';
import { vmmInHost } from '../vmm-files.ts';

/** First line that the guest's /init prints. */
export const firstLine = 'guest: init';

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
}

export type Contestant = 'ours' | 'microvm' | 'pc';

/** Command lines that boot the same guest: same kernel, initrd, command line, vCPUs, memory, console. */
export function contestants(guest: GuestSpec, mode: LabMode): Record<Contestant, string[]> {
  const { cpus, memoryMib, commandLine } = guest;
  const processor =
    mode === 'emulated'
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
      ...guestCpuFlags(mode),
    ],
    microvm: qemu('microvm'),
    pc: qemu('pc'),
  };
}
