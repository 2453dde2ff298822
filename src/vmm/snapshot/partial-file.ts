import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Fd } from '../../host/libc/descriptors.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { SnapshotError } from './snapshot-error.ts';
import { hasMagic, magic } from './snapshot-format.ts';

/** A snapshot's file while it is written: beside its place, and gone when it is closed before it got its name. */
export class PartialFile implements Closable {
  /** Where the snapshot is to be, with no symbolic link in its folder. */
  readonly target: string;
  readonly fd: Fd;
  readonly #path: string;
  readonly #owner = new Owner();

  /** @throws SnapshotError if something else is at `path`; NodeJS.ErrnoException */
  constructor(path: string) {
    const absolute = resolve(path);
    this.target = join(realpathSync(dirname(absolute)), basename(absolute));
    refuseOtherFiles(this.target, path);
    removeLeftovers(this.target);
    this.#path = partialPath(this.target, process.pid);
    this.fd = openSync(this.#path, 'wx+', 0o600) as Fd;
    this.#owner.defer(() => closeSync(this.fd));
    this.#owner.defer(() => rmSync(this.#path, { force: true }));
  }

  /** Gives the file, which is on the disk, its name; on return that is on the disk, too. */
  rename(): void {
    renameSync(this.#path, this.target);
    const folder = openSync(dirname(this.target), 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  }

  close(): void {
    this.#owner.close();
  }
}

function partialPath(target: string, pid: number): string {
  return `${target}.${pid}.part`;
}

/** Only snapshots are replaced: a path mistyped must not cost a disk. */
function refuseOtherFiles(target: string, path: string): void {
  const stat = statSync(target, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isFile())
    throw new SnapshotError(`${path}: is a ${stat.isDirectory() ? 'folder' : 'device'}; give the path of a file`);
  const fd = openSync(target, 'r');
  try {
    const start = new Uint8Array(magic.length);
    readSync(fd, start, 0, start.length, 0);
    if (!hasMagic(start)) {
      throw new SnapshotError(`${path}: there is a file that is no snapshot; give another path, or remove it`);
    }
  } finally {
    closeSync(fd);
  }
}

/** Removes what VMMs left behind that died while they wrote this snapshot. */
function removeLeftovers(target: string): void {
  const folder = dirname(target);
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const pid = Number(/\.(\d+)\.part$/.exec(name)?.[1]);
    // This process takes one snapshot at a time.
    if (path === partialPath(target, pid) && (pid === process.pid || !isAlive(pid))) rmSync(path, { force: true });
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
