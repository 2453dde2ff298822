import { buildGuestInitramfs, type InitramfsRequest } from '../images/initramfs.ts';
import { guestKernel } from '../images/kernel.ts';
import type { Host } from '../lab/host.ts';
import { type LabOptions, startLab } from '../lab/lab.ts';
import type { LabMode } from '../lab/mode.ts';
import { vmmFiles } from '../vmm-files.ts';
import { guestFiles } from './contestants.ts';

export interface BenchHostOptions {
  /** What the guest's initrd holds; nothing beyond busybox if absent. */
  readonly initramfs?: InitramfsRequest;
  /** More files for the host. */
  readonly files?: LabOptions['files'];
  readonly disks?: LabOptions['disks'];
  readonly memoryMib?: number;
}

/** Runs `measure` on a fresh host of the lab with this VMM, a kernel and an initrd in place. */
export async function withBenchHost<T>(
  measure: (host: Host, mode: LabMode) => Promise<T>,
  options: BenchHostOptions = {},
): Promise<T> {
  const kernel = await guestKernel();
  const initrd = await buildGuestInitramfs(options.initramfs ?? { modules: [] });
  const lab = await startLab({
    files: [
      ...vmmFiles,
      { source: kernel, path: guestFiles.kernel },
      { source: initrd, path: guestFiles.initrd },
      ...(options.files ?? []),
    ],
    disks: options.disks ?? [],
    ...(options.memoryMib === undefined ? {} : { memoryMib: options.memoryMib }),
  });
  try {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    return await measure(host, lab.mode);
  } finally {
    await lab.close();
  }
}

/** Runs commands on the host one after the other; the first that fails is an error. */
export async function prepare(host: Host, commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const { status, stdout, stderr } = await host.run(command, { timeoutMs: 120_000 });
    if (status !== 0) throw new Error(`"${command}" failed on the host: ${stderr || stdout}`);
  }
}
