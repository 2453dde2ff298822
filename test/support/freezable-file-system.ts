import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './vmm-process.ts';

/** Why there can be no {@link FreezableFileSystem} here; false if there can. */
export function noFreezing(): string | false {
  const needed = 'root, loop devices, mkfs.ext4 and fsfreeze';
  for (const program of ['mkfs.ext4', 'fsfreeze', 'nsenter']) {
    if (spawnSync(program, ['-V']).error !== undefined) return `no file system can be frozen: it takes ${needed}`;
  }
  return spawnSync('losetup', ['--find']).status === 0 ? false : `no file system can be frozen: it takes ${needed}`;
}

/**
 * A file system that hangs when a test says so: whoever writes to it waits in the kernel, and no signal ends that, as on
 * one whose server is gone. It is mounted in a namespace of its own, and gone after the test.
 */
export class FreezableFileSystem {
  readonly path: string;
  readonly #holder: ChildProcess;

  private constructor(path: string, holder: ChildProcess) {
    this.path = path;
    this.#holder = holder;
  }

  static async make(t: { teardown(clean: () => unknown): void }): Promise<FreezableFileSystem> {
    const folder = temporaryFolder(t);
    const image = join(folder, 'image');
    writeFileSync(image, '');
    truncateSync(image, 16 * 1024 * 1024);
    execFileSync('mkfs.ext4', ['-q', image]);
    const path = join(folder, 'mounted');
    // However the test ends, nothing stays frozen: whoever waits there could not end either.
    const end = `read -r _; fsfreeze --unfreeze ${path} 2>&-; umount ${path}`;
    const script = `mkdir ${path} && mount -o loop ${image} ${path} && echo mounted && ${end}`;
    const holder = spawn('unshare', ['-m', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'ignore'] });
    const system = new FreezableFileSystem(path, holder);
    t.teardown(async () => {
      system.thaw();
      holder.stdin?.end();
      if (holder.exitCode === null && holder.signalCode === null) await once(holder, 'exit');
    });
    const [said] = await Promise.race([once(holder.stdout as never, 'data'), once(holder, 'exit')]);
    if (!String(said).startsWith('mounted')) throw new Error(`${image} cannot be mounted`);
    return system;
  }

  /** That command, where the file system is mounted. */
  inside(...command: readonly string[]): [string, ...string[]] {
    return ['nsenter', `--mount=/proc/${this.#holder.pid}/ns/mnt`, '--', ...command];
  }

  run(...command: readonly string[]): void {
    const [program, ...args] = this.inside(...command);
    execFileSync(program, args);
  }

  freeze(): void {
    this.run('fsfreeze', '--freeze', this.path);
  }

  thaw(): void {
    const [program, ...args] = this.inside('fsfreeze', '--unfreeze', this.path);
    spawnSync(program, args);
  }
}
