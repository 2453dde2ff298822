import { join } from 'node:path';
import { debianRelease } from '../packages/debian-release.ts';
import { fetchPackages, type PackageSet } from '../packages/package-set.ts';
import type { Progress } from '../packages/progress.ts';
import { commandFromSet } from '../packages/run-from-set.ts';
import { LabError } from './errors.ts';
import type { HostImage } from './host-image.ts';

/**
 * The QEMU that emulates hosts. Versions before 10 break guests that are busy and often paused (their SVM emulation),
 * so Debian 12 takes it from its backports.
 */
const oldestSoundVersion = 10;

/** Fetches the emulator if it is not there. Throws a {@link LabError} if this Debian has none that is sound. */
export async function outerQemu(options: { progress: Progress; refresh?: boolean }): Promise<PackageSet> {
  const { codename, version } = await debianRelease();
  const backports = `${codename}-backports`;
  const set = await fetchPackages({
    names: ['qemu-system-x86'],
    ...(version === 12
      ? { suites: [codename, `${codename}-updates`, backports], preferSuite: backports }
      : { suites: [codename, `${codename}-updates`] }),
    ...options,
  });
  const found = set.versions['qemu-system-x86'] ?? '0';
  if (Number.parseInt(found.replace(/^\d+:/, ''), 10) < oldestSoundVersion) {
    throw new LabError(`the lab needs QEMU ${oldestSoundVersion} or newer; ${codename} has ${found}`);
  }
  return set;
}

/** File descriptors the emulator inherits: sockets to the lab, and from `disks` on the host's disks. */
export const qemuFds = { console: 3, agent: 4, monitor: 5, network: 6, disks: 7 } as const;

export interface OuterQemuOptions {
  readonly name: string;
  readonly memoryMib: number;
  readonly image: HostImage;
  /** The host's place in the lab's network; absent when it has none. */
  readonly network: { readonly address: string; readonly mac: string } | undefined;
  /** How many disks it has beside its own. */
  readonly disks: number;
  /** The first one of them is its system. */
  readonly bootsDisk: boolean;
  /** Of this machine's time stamp counter, which is its hosts' too; absent: they measure it. */
  readonly tscKhz?: number;
}

/**
 * What this machine's time stamp counter runs at, in kHz, from its /proc/cpuinfo; undefined if that is not certain.
 *
 * Hosts that measure it while they boot on a busy machine are wrong by up to ten times, and then no guest can be moved
 * between them.
 */
export function tscKhz(cpuinfo: string): number | undefined {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.trim().split(/\s+/));
  // A virtual machine whose hypervisor tells it has no other frequency; elsewhere it would be what the CPU runs at just now.
  if (!flags.has('hypervisor') || !flags.has('tsc_known_freq') || !flags.has('constant_tsc')) return undefined;
  const mhz = /^cpu MHz\s*:\s*(\d+\.\d+)$/m.exec(cpuinfo)?.[1];
  return mhz === undefined ? undefined : Math.round(Number(mhz) * 1000);
}

/**
 * The emulator's command line. One CPU, this CPU model and this accelerator: anything else tried made the inner
 * guests fail in ways that were not the inner VMM's fault.
 */
export function outerQemuCommand(set: PackageSet, options: OuterQemuOptions): { program: string; args: string[] } {
  const { program, args } = commandFromSet(set.root, 'usr/bin/qemu-system-x86_64');
  const { image, network } = options;
  const kernelWords = [
    'console=ttyS0',
    'quiet',
    // The lab sees a dead host at once: -no-reboot turns the reboot into the emulator's end.
    'panic=-1',
    'oops=panic',
    'random.trust_cpu=on',
    'mitigations=off',
    ...(options.tscKhz === undefined ? [] : [`tsc_early_khz=${options.tscKhz}`]),
    `lab.name=${options.name}`,
    ...(options.bootsDisk
      ? // The system gives its cards their addresses itself; udev is to leave them their names.
        [`lab.root=${emulatedDiskPath(0)}`, 'net.ifnames=0']
      : network === undefined
        ? []
        : [`lab.address=${network.address}/24`]),
  ];
  const socket = (id: string, fd: number) => ['-chardev', `socket,id=${id},fd=${fd}`];
  return {
    program,
    args: [
      ...args,
      ...['-L', join(set.root, 'usr/share/qemu'), '-L', join(set.root, 'usr/share/seabios')],
      ...['-name', options.name, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-machine', 'pc', '-accel', 'tcg,thread=multi', '-cpu', 'EPYC,+svm,+npt', '-smp', '1'],
      ...['-m', String(options.memoryMib)],
      ...['-kernel', image.kernel, '-initrd', image.initramfs, '-append', kernelWords.join(' ')],
      ...['-drive', `if=none,id=disk,file=${image.disk},format=raw,readonly=on,file.locking=off`],
      ...['-device', 'virtio-blk-pci,drive=disk'],
      ...Array.from({ length: options.disks }, (_, index) => scratchDisk(index)).flat(),
      ...socket('console', qemuFds.console),
      ...['-serial', 'chardev:console'],
      ...socket('agent', qemuFds.agent),
      ...['-device', 'virtio-serial-pci,max_ports=2', '-device', 'virtserialport,chardev=agent,name=agent,nr=1'],
      ...socket('monitor', qemuFds.monitor),
      ...['-mon', 'chardev=monitor,mode=control'],
      ...(network === undefined
        ? []
        : [
            ...['-netdev', `stream,id=lan,addr.type=fd,addr.str=${qemuFds.network}`],
            ...['-device', `virtio-net-pci,netdev=lan,mac=${network.mac},romfile=`],
          ]),
    ],
  };
}

/** Where the host finds the disk with this index: its own is the first one of all. */
export function emulatedDiskPath(index: number): string {
  return `/dev/vd${String.fromCharCode('b'.charCodeAt(0) + index)}`;
}

function scratchDisk(index: number): string[] {
  // The file has no name any more; opening it by its descriptor works all the same.
  const file = `/proc/self/fd/${qemuFds.disks + index}`;
  return [
    ...['-drive', `if=none,id=scratch${index},file=${file},format=raw,discard=unmap,file.locking=off`],
    ...['-device', `virtio-blk-pci,drive=scratch${index}`],
  ];
}
