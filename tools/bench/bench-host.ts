import { dirname, join } from 'node:path';
import { buildGuestInitramfs } from '../images/initramfs.ts';
import { guestKernel } from '../images/kernel.ts';
import type { Host } from '../lab/host.ts';
import { startLab } from '../lab/lab.ts';
import { bundlePath } from './bundle-path.ts';
import { guestFiles } from './contestants.ts';

/** Runs `measure` on a fresh host of the lab with this VMM, a kernel and an initrd in place. */
export async function withBenchHost<T>(measure: (host: Host, kind: string) => Promise<T>): Promise<T> {
  const kernel = await guestKernel();
  const initrd = await buildGuestInitramfs({ modules: [] });
  const lab = await startLab({
    files: [
      { source: bundlePath, path: guestFiles.bundle },
      { source: join(dirname(bundlePath), 'koffi.node'), path: guestFiles.addon },
      { source: kernel, path: guestFiles.kernel },
      { source: initrd, path: guestFiles.initrd },
    ],
  });
  try {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    return await measure(host, 'emulated');
  } finally {
    await lab.close();
  }
}
