import { readFileSync } from 'node:fs';
import type { Progress } from '../packages/progress.ts';
import { bundle } from './bundle.ts';
import { startEmulatedMachine } from './emulated-machine.ts';
import { EmulatedNetwork } from './emulated-network.ts';
import { LabError } from './errors.ts';
import { hostImage } from './host-image.ts';
import { hostTree } from './host-tree.ts';
import type { Machine } from './machine.ts';
import { nativeDiskPath, startNativeMachine } from './native-machine.ts';
import { NativeNetwork } from './native-network.ts';
import { hostAddress, hostMac, type LabNetwork } from './network.ts';
import { emulatedDiskPath, outerQemu, outerQemuCommand, tscKhz } from './outer-qemu.ts';
import { startOutsideMachine } from './outside-machine.ts';

/** What hosts, and the machine outside them, are made from, in one mode. */
export interface Platform {
  /** Undefined for a lab of one host. */
  readonly network: LabNetwork | undefined;
  /** Switches on the machine of the host with this index. */
  boot(index: number): Promise<Machine>;
  /** Where a host finds its disk with this index. */
  diskPath(index: number): string;
  /** Ends the network; the machines are their hosts' to end. */
  close(): Promise<void>;
}

export interface PlatformOptions {
  readonly names: readonly string[];
  /** Name of the machine outside the hosts, which has the index after theirs; absent without one. */
  readonly outside?: string;
  readonly memoryMib: number;
  /** Descriptors of each host's disks. */
  readonly disks: readonly (readonly number[])[];
  /** The first one of them is the host's system. Emulated hosts only. */
  readonly bootsDisk: boolean;
  readonly progress: Progress;
}

export async function emulatedPlatform(options: PlatformOptions): Promise<Platform> {
  const { names, outside, memoryMib, bootsDisk, progress } = options;
  const image = await hostImage({ progress });
  const qemu = await outerQemu({ progress });
  const ports = outside === undefined ? names : [...names, outside];
  const network = ports.length > 1 ? await EmulatedNetwork.start(ports) : undefined;
  const khz = tscKhz(readFileSync('/proc/cpuinfo', 'utf8'));
  return {
    network,
    boot: async (index) => {
      if (index === names.length && outside !== undefined && network !== undefined) {
        const tree = await hostTree({ progress });
        return startOutsideMachine({ tree, qemu, name: outside, index, network });
      }
      const card = network && { address: hostAddress(index), mac: hostMac(index) };
      const disks = options.disks[index] ?? [];
      const name = names[index] ?? '';
      const host = { name, memoryMib, image, network: card, disks: disks.length, bootsDisk };
      const command = outerQemuCommand(qemu, khz === undefined ? host : { ...host, tscKhz: khz });
      const machine = startEmulatedMachine(command, { networked: network !== undefined, disks });
      if (network !== undefined && machine.networkPort !== undefined) await network.attach(index, machine.networkPort);
      return machine;
    },
    diskPath: emulatedDiskPath,
    close: async () => network?.close(),
  };
}

export async function nativePlatform({ names: hosts, outside, disks, progress }: PlatformOptions): Promise<Platform> {
  if (process.getuid?.() !== 0) {
    throw new LabError('native hosts are namespaces, which need root here; run as root, or set LAB=emulated');
  }
  const names = outside === undefined ? hosts : [...hosts, outside];
  const tree = await hostTree({ progress });
  const agent = bundle('agent.ts');
  const network = names.length > 1 ? await NativeNetwork.start(names, tree.root) : undefined;
  return {
    network,
    boot: async (index) => {
      const machine = startNativeMachine({
        tree: tree.folder,
        name: names[index] ?? '',
        agent,
        disks: disks[index] ?? [],
      });
      if (network === undefined) return machine;
      await network.attach(index, await machine.namespacePid);
      return {
        ...machine,
        // The kernel below goes on and would answer for a host that hangs.
        hang: async () => {
          await network.plug(index, false);
          await machine.hang();
        },
        unhang: async () => {
          await machine.unhang();
          await network.plug(index, true);
        },
        // A namespace answers until the kernel comes round to removing it, some time after its last process.
        kill: async () => {
          await machine.kill();
          await network.detach(index);
        },
      };
    },
    diskPath: nativeDiskPath,
    close: async () => network?.close(),
  };
}
