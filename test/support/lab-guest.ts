import type { Test } from 'tap';
import { guestCpuFlags } from '../../tools/guest-flags.ts';
import { GuestSession } from '../../tools/guest-session.ts';
import { buildGuestInitramfs } from '../../tools/images/initramfs.ts';
import { guestKernel } from '../../tools/images/kernel.ts';
import type { RemoteProcess } from '../../tools/lab/connection.ts';
import type { Host } from '../../tools/lab/host.ts';
import { type Lab, startLab } from '../../tools/lab/lab.ts';
import { vmmFiles, vmmInHost } from '../../tools/vmm-files.ts';

/** What a guest may take for anything: hosts are emulated, and CI machines are busy. */
export const patienceMs = 180_000;

/** Where the guest's files lie in a host. */
export const guestFiles = { kernel: '/opt/guest/vmlinuz', initrd: '/opt/guest/initrd.cpio' };

/** Modules of the power button, as the guest's user space sees it, and of the device that hears of panics. */
const modules = ['button', 'evdev', 'pvpanic-mmio'];

/** A lab of one host with this VMM and a guest in it. It is closed after the test. */
export async function labHost(t: Test): Promise<{ lab: Lab; host: Host }> {
  const kernel = await guestKernel();
  const initrd = await buildGuestInitramfs({ modules });
  const lab = await startLab({
    files: [...vmmFiles, { source: kernel, path: guestFiles.kernel }, { source: initrd, path: guestFiles.initrd }],
  });
  t.teardown(() => lab.close());
  const [host] = lab.hosts;
  if (host === undefined) throw new Error('the lab has no host');
  return { lab, host };
}

/** A guest of the VMM under test. */
export interface LabGuest {
  readonly session: GuestSession;
  readonly process: RemoteProcess;
  /** Waits for the VMM to end; its exit code and what it said on standard error. */
  ended(): Promise<{ status: number | null; report: string }>;
}

export interface GuestOptions {
  readonly cpus?: number;
  readonly kernel?: string;
  /** Default {@link guestFiles}; undefined: none. */
  readonly initrd?: string | undefined;
  /** Default 256M. */
  readonly memory?: string;
  /** Added to the kernel's command line. */
  readonly cmdline?: string;
  /** More flags for `colo-vmm run`. */
  readonly flags?: readonly string[];
}

/** Starts the VMM in a host; `session.login` waits for the guest's shell. */
export function startGuest(lab: Lab, host: Host, options: GuestOptions = {}): LabGuest {
  const initrd = 'initrd' in options ? options.initrd : guestFiles.initrd;
  const process = host.spawn([
    ...['node', vmmInHost, 'run', '--kernel', options.kernel ?? guestFiles.kernel],
    ...(initrd === undefined ? [] : ['--initrd', initrd]),
    ...['--cpus', String(options.cpus ?? 1), '--memory', options.memory ?? '256M'],
    ...['--cmdline', `console=ttyS0 quiet panic=-1 ${options.cmdline ?? ''}`],
    // A guest that panics, or reboots, is not to go on for ever.
    ...['--reboot', 'exit'],
    ...guestCpuFlags(lab.mode),
    ...(options.flags ?? []),
  ]);
  const session = new GuestSession(process);
  return {
    session,
    process,
    ended: async () => {
      const { status } = await process.exit;
      return { status, report: session.errors };
    },
  };
}
