import { buildGuestInitramfs } from '../images/initramfs.ts';
import { guestKernel } from '../images/kernel.ts';
import type { Host } from '../lab/host.ts';
import { startLab } from '../lab/lab.ts';
import type { LabMode } from '../lab/mode.ts';
import { vmmFiles } from '../vmm-files.ts';
import { guestFiles } from './contestants.ts';

/** Runs `measure` on a fresh host of the lab with this VMM, a kernel and an initrd in place. */
export async function withBenchHost<T>(measure: (host: Host, mode: LabMode) => Promise<T>): Promise<T> {
  const kernel = await guestKernel();
  const initrd = await buildGuestInitramfs({ modules: [] });
  const lab = await startLab({
    files: [...vmmFiles, { source: kernel, path: guestFiles.kernel }, { source: initrd, path: guestFiles.initrd }],
  });
  try {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    return await measure(host, lab.mode);
  } finally {
    await lab.close();
  }
}
