import { access, type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A disk of a backup. */
export interface BackupDisk {
  readonly id: string;
  readonly sizeBytes: number;
}

/** What stands in a backup's `backup.json`. */
export interface BackupManifest {
  readonly pair: string;
  readonly term: number;
  /** The checkpoint that the disks are of. */
  readonly epoch: number;
  /** When the copy was begun, ISO 8601. */
  readonly at: string;
  readonly disks: readonly (BackupDisk & { readonly file: string })[];
}

/**
 * A folder with a raw file for each disk, sparse where the disk is empty. Beside its place while it is written, and there at once when
 * it is whole and durable.
 */
export class BackupFolder {
  readonly path: string;
  readonly #partial: string;
  readonly #files: FileHandle[] = [];
  readonly #disks: readonly BackupDisk[];

  private constructor(path: string, disks: readonly BackupDisk[]) {
    this.path = path;
    this.#partial = partialPath(path, process.pid);
    this.#disks = disks;
  }

  /** @param path absolute. @throws Error with one sentence; then nothing is left behind */
  static async create(path: string, disks: readonly BackupDisk[]): Promise<BackupFolder> {
    const folder = new BackupFolder(path, disks);
    await refuseExisting(path);
    try {
      await removeLeftovers(path);
      await mkdir(folder.#partial, { mode: 0o700 });
    } catch (error) {
      throw explained(path, error as NodeJS.ErrnoException);
    }
    try {
      for (const { id, sizeBytes } of disks) {
        const file = await open(join(folder.#partial, fileOf(id)), 'wx', 0o600);
        folder.#files.push(file);
        await file.truncate(sizeBytes);
      }
    } catch (error) {
      await folder.remove();
      throw explained(path, error as NodeJS.ErrnoException);
    }
    return folder;
  }

  /** @param bytes that are not all zeros. @throws Error with one sentence */
  async write(disk: number, offset: number, bytes: Uint8Array): Promise<void> {
    const file = this.#files[disk] as FileHandle;
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw explained(this.path, error as NodeJS.ErrnoException);
    }
  }

  /** All is written: it is durable, and in its place, when this resolves. @throws Error with one sentence */
  async finish(manifest: Omit<BackupManifest, 'disks'>): Promise<void> {
    try {
      for (const file of this.#files) await file.sync();
      const disks = this.#disks.map((disk) => ({ ...disk, file: fileOf(disk.id) }));
      const text = JSON.stringify({ ...manifest, disks } satisfies BackupManifest, null, 2);
      const file = await open(join(this.#partial, 'backup.json'), 'wx', 0o600);
      try {
        await file.writeFile(`${text}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#closeFiles();
      await syncFolder(this.#partial);
      // Who made a folder there meanwhile keeps it, if anything is in it.
      await refuseExisting(this.path);
      await rename(this.#partial, this.path);
      await syncFolder(dirname(this.path));
    } catch (error) {
      throw explained(this.path, error as NodeJS.ErrnoException);
    }
  }

  /** It is not wanted: nothing is left of it. */
  async remove(): Promise<void> {
    await this.#closeFiles().catch(() => {});
    await rm(this.#partial, { recursive: true, force: true }).catch(() => {});
  }

  async #closeFiles(): Promise<void> {
    await Promise.all(this.#files.splice(0).map((file) => file.close()));
  }
}

/** Removes what is there of a backup that a thread of this process began, and did not finish. */
export async function removePartial(path: string): Promise<void> {
  await rm(partialPath(path, process.pid), { recursive: true, force: true }).catch(() => {});
}

function fileOf(id: string): string {
  return `${id}.img`;
}

function partialPath(path: string, pid: number): string {
  return `${path}.${pid}.part`;
}

async function refuseExisting(path: string): Promise<void> {
  const exists = await access(path).then(
    () => true,
    ({ code }: NodeJS.ErrnoException) => code !== 'ENOENT',
  );
  if (exists) throw new Error(`${path} is there already: nothing is written over. Give another folder, or remove it`);
}

/** What a process left behind that died while it made this backup. */
async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  for (const name of await readdir(folder)) {
    const pid = Number(/\.(\d+)\.part$/.exec(name)?.[1]);
    if (join(folder, name) !== partialPath(join(folder, basename(path)), pid)) continue;
    // This process makes one at a time.
    if (pid === process.pid || !isAlive(pid)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'there is no room left on that file system. Make room, or give a folder on another one',
  EDQUOT: 'the quota of that file system is used up. Make room, or give a folder on another one',
  ENOENT: 'the folder that it is to be in is not there. Make it first',
  ENOTDIR: 'what it is to be in is no folder. Give the path of a new folder',
  EACCES: 'this process may not write there. Give a folder that it may write to',
  EPERM: 'this process may not write there. Give a folder that it may write to',
  EROFS: 'that file system is read-only. Give a folder on another one',
};

function explained(path: string, error: NodeJS.ErrnoException): Error {
  if (error.code === undefined) return error;
  return new Error(`${path}: ${remedies[error.code] ?? error.message}`, { cause: error });
}
