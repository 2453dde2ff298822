import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheRoot } from '../packages/cache.ts';
import { execute } from '../packages/execute.ts';

/** A disk every host gets one of: a copy of a file of this machine, or an empty one. */
export type DiskRequest = { readonly source: string } | { readonly sizeBytes: number };

/** Letters of virtio disks from the second on; the first is the host's own. */
export const mostDisks = 8;

const sectorBytes = 512;

/** Refuses what no emulator would take, before anything is started. */
export function checkDisks(requests: readonly DiskRequest[]): void {
  if (requests.length > mostDisks)
    throw new RangeError(`a host has at most ${mostDisks} disks, not ${requests.length}`);
  for (const request of requests) {
    if (!('sizeBytes' in request)) continue;
    const { sizeBytes } = request;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % sectorBytes !== 0) {
      throw new RangeError(`a disk is a number of whole sectors of ${sectorBytes} bytes, not ${sizeBytes} bytes`);
    }
  }
}

/**
 * The disk as a file that has no name any more: it lives as long as this process or a host has it open, so that
 * nothing is left however they end, and a host finds it again after a power loss.
 */
export async function createDisk(request: DiskRequest): Promise<FileHandle> {
  const sizeBytes = 'source' in request ? (await stat(request.source)).size : request.sizeBytes;
  // Beside the images, where a copy may share their blocks, and not in a /tmp that is RAM.
  await mkdir(cacheRoot(), { recursive: true });
  const path = join(cacheRoot(), `disk-${process.pid}-${randomBytes(4).toString('hex')}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
    if ('source' in request) {
      const target = `/proc/${process.pid}/fd/${file.fd}`;
      await execute('cp', ['--sparse=always', '--reflink=auto', request.source, target]);
    }
    await file.truncate(Math.ceil(sizeBytes / sectorBytes) * sectorBytes);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Disks of one host after the other. On failure none is left open. */
export async function createDisks(hosts: number, requests: readonly DiskRequest[]): Promise<FileHandle[][]> {
  const made: FileHandle[][] = [];
  try {
    for (let host = 0; host < hosts; host++) {
      const own: FileHandle[] = [];
      made.push(own);
      for (const request of requests) own.push(await createDisk(request));
    }
    return made;
  } catch (error) {
    await closeDisks(made);
    throw error;
  }
}

export async function closeDisks(disks: readonly (readonly FileHandle[])[]): Promise<void> {
  await Promise.all(disks.flat().map((disk) => disk.close()));
}
