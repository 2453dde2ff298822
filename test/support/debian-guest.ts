import type { Test } from 'tap';
import { guestCpuFlags, xsaveFamily } from '../../tools/guest-flags.ts';
import { GuestSession } from '../../tools/guest-session.ts';
import { buildGuestInitramfs } from '../../tools/images/initramfs.ts';
import { guestKernel, type KernelFlavour } from '../../tools/images/kernel.ts';
import { rootFsImage } from '../../tools/images/root-fs.ts';
import { rootFsInit, rootFsKernels, rootFsModules } from '../../tools/images/root-fs-files.ts';
import type { Host } from '../../tools/lab/host.ts';
import { type Lab, startLab } from '../../tools/lab/lab.ts';
import type { LabMode } from '../../tools/lab/mode.ts';
import { vmmFiles, vmmInHost } from '../../tools/vmm-files.ts';
import { type LabGuest, patienceMs } from './lab-guest.ts';

/**
 * A Debian with systemd, in any VMM that can run it: the one under test, or with DISTRO_VMM=qemu or qemu-microvm
 * Debian's QEMU as a control. When the control fails, the image or the lab is to blame.
 */
const vmms = ['ours', 'qemu', 'qemu-microvm'] as const;
type DebianVmm = (typeof vmms)[number];

/** The guest's place in the network between it and its host. */
export const guestNetwork = {
  tap: 'tap0',
  mac: '52:54:00:78:00:02',
  hostAddress: '10.78.0.1',
  guestAddress: '10.78.0.57',
} as const;

/** A whole system starts some fifty programs before its services answer. */
const bootPatienceMs = 2 * patienceMs;

const name = 'debian';
const controlSocket = { ours: `/run/colo-vmm/${name}.sock`, qemu: `/run/${name}.qmp` } as const;

const kernelIn = (flavour: KernelFlavour): string => `/opt/guest/${flavour}/vmlinuz`;
const initrdIn = (flavour: KernelFlavour): string => `/opt/guest/${flavour}/initrd.cpio`;

/** Leases one address to one card: whoever answers there asked by DHCP. */
const dhcpConfiguration = `start ${guestNetwork.guestAddress}
end ${guestNetwork.guestAddress}
interface ${guestNetwork.tap}
lease_file /run/udhcpd.leases
pidfile /run/udhcpd.pid
option subnet 255.255.255.0
option lease 3600
`;

/** Which VMM the environment asks for. */
export function debianVmm(wanted: string | undefined): DebianVmm {
  const vmm = vmms.find((each) => each === (wanted || 'ours'));
  if (vmm === undefined) throw new Error(`DISTRO_VMM is "${wanted}"; it can be ${vmms.join(', ')}`);
  return vmm;
}

/** A lab of one host with the image as its disk, a TAP and a DHCP server on it. It is closed after the test. */
export async function debianHost(t: Test): Promise<{ lab: Lab; host: Host }> {
  const files: { source: string; path: string }[] = [...vmmFiles];
  for (const flavour of rootFsKernels) {
    const initrd = await buildGuestInitramfs({ kernel: flavour, modules: rootFsModules.boot, init: rootFsInit });
    files.push({ source: await guestKernel(flavour), path: kernelIn(flavour) });
    files.push({ source: initrd, path: initrdIn(flavour) });
  }
  const lab = await startLab({ files, disks: [{ source: await rootFsImage() }] });
  t.teardown(() => lab.close());
  const [host] = lab.hosts;
  if (host === undefined) throw new Error('the lab has no host');
  await host.push(Buffer.from(dhcpConfiguration), '/etc/udhcpd.conf');
  const { tap, hostAddress } = guestNetwork;
  const made = await host.run(
    `ip tuntap add ${tap} mode tap && ip address add ${hostAddress}/24 dev ${tap} && ip link set ${tap} up && : > /run/udhcpd.leases`,
  );
  if (made.status !== 0) throw new Error(`the host's TAP could not be made: ${made.stderr}`);
  host.spawn(['busybox', 'udhcpd', '-f', '/etc/udhcpd.conf']);
  return { lab, host };
}

/** The command line that runs the guest from the host's first disk. */
export function debianCommand(vmm: DebianVmm, mode: LabMode, flavour: KernelFlavour, disk: string): string[] {
  const { tap, mac } = guestNetwork;
  const cmdline = 'console=ttyS0 quiet panic=-1 mitigations=off 8250.nr_uarts=1 root=/dev/vda';
  const boot = ['--kernel', kernelIn(flavour), '--initrd', initrdIn(flavour), '--cmdline', cmdline];
  if (vmm === 'ours') {
    return [
      ...['node', vmmInHost, 'run', '--name', name, ...boot, '--cpus', '2', '--memory', '512M'],
      ...['--disk', `path=${disk}`, '--net', `tap=${tap},mac=${mac}`],
      ...guestCpuFlags(mode),
    ];
  }
  const hidden = mode === 'emulated' ? xsaveFamily.filter((feature) => feature !== 'osxsave') : [];
  // ACPI tells the guest of its devices and of the power button, in both machines.
  const [machine, bus] = vmm === 'qemu' ? ['pc', 'pci'] : ['microvm,acpi=on,rtc=on', 'device'];
  return [
    ...['qemu-system-x86_64', '-machine', `${machine},accel=kvm`, '-smp', '2', '-m', '512'],
    ...['-cpu', ['host', ...hidden.map((feature) => `-${feature}`)].join(',')],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', kernelIn(flavour), '-initrd', initrdIn(flavour), '-append', cmdline],
    ...['-drive', `if=none,id=root,file=${disk},format=raw`, '-device', `virtio-blk-${bus},drive=root`],
    ...['-netdev', `tap,id=net,ifname=${tap},script=no,downscript=no`],
    ...['-device', `virtio-net-${bus},netdev=net,mac=${mac}${bus === 'pci' ? ',romfile=' : ''}`],
    ...['-qmp', `unix:${controlSocket.qemu},server=on,wait=off`],
  ];
}

/** The guest, and what its host does to it. */
export interface DebianGuest extends LabGuest {
  /** Waits until the web server answers; the page. Throws with what the guest printed if it does not. */
  webPage(): Promise<string>;
  /** Presses the power button. */
  pressPower(): Promise<void>;
}

export function startDebian(lab: Lab, host: Host, flavour: KernelFlavour): DebianGuest {
  const vmm = debianVmm(process.env.DISTRO_VMM);
  const child = host.spawn(debianCommand(vmm, lab.mode, flavour, host.disks[0] ?? ''));
  const session = new GuestSession(child);
  return {
    session,
    process: child,
    ended: async () => {
      const { status } = await child.exit;
      return { status, report: session.errors };
    },
    webPage: async () => {
      const asking = host.run(`until curl -sf -m 20 http://${guestNetwork.guestAddress}/; do sleep 0.5; done`, {
        timeoutMs: bootPatienceMs,
      });
      const early = child.exit.then(({ status }) => {
        throw new Error(`the VMM ended with status ${status}`);
      });
      early.catch(() => {});
      try {
        return (await Promise.race([asking, early])).stdout;
      } catch (cause) {
        asking.catch(() => {});
        throw new Error(`no web page; the guest said last:\n${session.transcript.slice(-2000)}\n${session.errors}`, {
          cause,
        });
      }
    },
    pressPower: async () => {
      const client =
        'const socket = require("net").connect(process.argv[1]); socket.pipe(process.stdout);' +
        'socket.on("close", () => process.exit()); socket.write(process.argv[2] + "\\n");' +
        'let said = ""; socket.on("data", (bytes) => { said += bytes; if (said.split("\\"return\\"").length > 2) socket.end(); });';
      const commands = ['{"execute":"qmp_capabilities"}', '{"execute":"system_powerdown"}'].join('\n');
      const socket = vmm === 'ours' ? controlSocket.ours : controlSocket.qemu;
      const { status, stderr } = await host.run(['node', '-e', client, socket, commands], { timeoutMs: patienceMs });
      if (status !== 0) throw new Error(`the power button could not be pressed: ${stderr}`);
    },
  };
}
