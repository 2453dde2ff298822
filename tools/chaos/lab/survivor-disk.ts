import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageSuites } from '../../images/kernel.ts';
import { ExecuteError, execute } from '../../packages/execute.ts';
import { fetchPackages } from '../../packages/package-set.ts';
import type { Progress } from '../../packages/progress.ts';
import { commandFromSet } from '../../packages/run-from-set.ts';
import { guestFiles } from './guest.ts';

/** What stands on a disk of the guest. */
export interface DiskContent {
  /** The counter's file: records in the sectors of their numbers. */
  readonly counter: Buffer;
  /** Redis' log of commands. */
  readonly redis: Buffer;
  /** What a check of the file system says, a line each; empty: it is whole. */
  readonly damage: readonly string[];
}

/** What e2fsck ends with when it had something to do, as with any journal. */
const replayed = 1;

/**
 * Looks at a disk of the guest from outside, as a machine would that finds it after a power loss: its journal is replayed, then nothing
 * may be left to mend.
 */
export async function readGuestDisk(image: Buffer, progress: Progress): Promise<DiskContent> {
  const tools = await fetchPackages({ names: ['e2fsprogs'], suites: imageSuites, progress });
  const folder = await mkdtemp(join(tmpdir(), 'colo-vmm-disk-'));
  const run = (program: string, ...args: string[]): Promise<string> => {
    const own = commandFromSet(tools.root, program);
    return execute(own.program, [...own.args, ...args]);
  };
  try {
    const disk = join(folder, 'disk.img');
    await writeFile(disk, image);
    const damage: string[] = [];
    const checks = [
      { how: ['-E', 'journal_only', '-p'], best: replayed },
      { how: ['-f', '-n'], best: 0 },
    ];
    for (const { how, best } of checks) {
      try {
        await run('sbin/e2fsck', ...how, disk);
      } catch (error) {
        if (!(error instanceof ExecuteError)) throw error;
        if (error.status !== best) damage.push(`e2fsck ${how.join(' ')}: ${error.message.replaceAll(disk, 'disk')}`);
      }
    }
    const file = async (path: string): Promise<Buffer> => {
      const copy = join(folder, 'file');
      await run('sbin/debugfs', '-R', `dump ${path} ${copy}`, disk);
      const bytes = await readFile(copy).catch(() => Buffer.alloc(0));
      await rm(copy, { force: true });
      return bytes;
    };
    return { counter: await file(guestFiles.counter), redis: await file(guestFiles.redis), damage };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
