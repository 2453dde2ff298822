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

/** A network card on a TAP that is there. */
export interface CardSpec {
  readonly tap: string;
  readonly mac: string;
  readonly offload: boolean;
}

export type Contestant = 'ours' | 'microvm' | 'pc';
export type BlockContestant = 'ours' | 'qemu_threads' | 'qemu_io_uring';
export type NetContestant = 'ours' | 'qemu';

/** Command lines that boot the same guest: same kernel, initrd, command line, vCPUs, memory, console. */
export function contestants(guest: GuestSpec, mode: LabMode): Record<Contestant, string[]> {
  return { ours: ours(guest, mode), microvm: qemu('microvm', guest, mode), pc: qemu('pc', guest, mode) };
}

/** The same with a file of the host as the guest's disk, each its own, written back through the host's page cache. */
export function blockContestants(
  guest: GuestSpec,
  mode: LabMode,
  disks: Readonly<Record<BlockContestant, string>>,
): Record<BlockContestant, string[]> {
  const withDisk = (disk: string, aio: string): string[] => [
    ...qemu('microvm', guest, mode),
    ...modernMmio,
    ...['-drive', `if=none,id=disk,file=${disk},format=raw,cache=writeback,aio=${aio}`],
    ...['-device', 'virtio-blk-device,drive=disk'],
  ];
  return {
    ours: [...ours(guest, mode), '--disk', `path=${disks.ours}`],
    qemu_threads: withDisk(disks.qemu_threads, 'threads'),
    qemu_io_uring: withDisk(disks.qemu_io_uring, 'io_uring'),
  };
}

/** The same with network cards, each VMM its own. */
export function netContestants(
  guest: GuestSpec,
  mode: LabMode,
  cards: Readonly<Record<NetContestant, readonly CardSpec[]>>,
): Record<NetContestant, string[]> {
  return {
    ours: [
      ...ours(guest, mode),
      ...cards.ours.flatMap(({ tap, mac, offload }) => [
        '--net',
        `tap=${tap},mac=${mac},offload=${offload ? 'on' : 'off'}`,
      ]),
    ],
    qemu: [
      ...qemu('microvm', guest, mode),
      ...modernMmio,
      ...cards.qemu.flatMap(({ tap, mac, offload }) => [
        ...['-netdev', `tap,id=${tap},ifname=${tap},script=no,downscript=no,vhost=off`],
        ...['-device', ['virtio-net-device', `netdev=${tap}`, `mac=${mac}`, ...(offload ? [] : noOffloads)].join(',')],
      ]),
    ],
  };
}

const modernMmio = ['-global', 'virtio-mmio.force-legacy=false'];

/** What `offload=off` switches off: checksums and segmentation, both ways. */
const noOffloads = [
  ...['csum', 'gso', 'host_tso4', 'host_tso6', 'host_ecn', 'host_ufo'],
  ...['guest_csum', 'guest_tso4', 'guest_tso6', 'guest_ecn', 'guest_ufo'],
].map((feature) => `${feature}=off`);

function ours({ cpus, memoryMib, commandLine }: GuestSpec, mode: LabMode): string[] {
  return [
    ...['node', vmmInHost, 'run', '--kernel', guestFiles.kernel, '--initrd', guestFiles.initrd, '--reboot', 'exit'],
    ...['--cmdline', commandLine, '--cpus', String(cpus), '--memory', `${memoryMib}M`],
    ...guestCpuFlags(mode),
  ];
}

function qemu(machine: string, { cpus, memoryMib, commandLine }: GuestSpec, mode: LabMode): string[] {
  const processor =
    mode === 'emulated'
      ? ['host', ...xsaveFamily.filter((name) => name !== 'osxsave').map((name) => `-${name}`)].join(',')
      : 'host';
  return [
    'qemu-system-x86_64',
    ...['-machine', `${machine},accel=kvm`],
    ...['-cpu', processor, '-smp', String(cpus), '-m', String(memoryMib)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', guestFiles.kernel, '-initrd', guestFiles.initrd, '-append', commandLine],
  ];
}
