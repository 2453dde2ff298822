import { errnoName } from '../../../host/errno.ts';
import { DiskBuffer } from '../disk-buffer.ts';
import { type BackupDisk, BackupFolder } from './backup-folder.ts';
import type { CheckpointCopy } from './checkpoint-copy.ts';
import { type BackupBlock, backupBlockBytes } from './point-in-time.ts';

/** Blocks that are copied at a time. */
const copiers = 4;
/** How often it is looked whether a change of the guest's waits too long. */
const lookMs = 100;

/** The standby's disks, as a backup sees them. */
export interface BackupSource {
  readonly disks: readonly BackupDisk[];
  /** To the front of the buffer: 0, or a negative errno. */
  read(disk: number, offset: number, lengthBytes: number, buffer: DiskBuffer): Promise<number>;
}

export interface BackupParts {
  readonly source: BackupSource;
  /** From now on there is a copy to make. @throws Error if there is no checkpoint any more */
  readonly begin: () => CheckpointCopy;
  /** The folder that is to be made, absolute. */
  readonly path: string;
  readonly pair: string;
  readonly term: number;
  readonly now: () => number;
  /** A change that waits for longer than this ends the backup: protection comes first, ms. */
  readonly patienceMs: number;
}

/** What was made. */
export interface BackupReport {
  readonly path: string;
  readonly epoch: number;
  /** Of all disks. */
  readonly totalBytes: number;
  /** Of these, what was not empty. */
  readonly writtenBytes: number;
}

/**
 * Makes a copy of the disks as of a checkpoint while later ones are laid down. Memory: {@link copiers} blocks and a bit a block.
 *
 * @throws Error with one sentence; then nothing is left behind
 */
export async function makeBackup(parts: BackupParts): Promise<BackupReport> {
  const { source, path, pair, term } = parts;
  const folder = await BackupFolder.create(path, source.disks);
  let copy: CheckpointCopy | undefined;
  let watch: NodeJS.Timeout | undefined;
  try {
    const begun = parts.begin();
    copy = begun;
    watch = setInterval(() => endIfInTheWay(begun, parts), lookMs);
    const at = new Date().toISOString();
    await copy.begun;
    const writtenBytes = await copyAll(source, copy, folder);
    copy.end();
    await folder.finish({ pair, term, epoch: copy.epoch, at });
    return { path, epoch: copy.epoch, totalBytes: copy.point.totalBytes, writtenBytes };
  } catch (error) {
    copy?.end((error as Error).message);
    await folder.remove();
    throw error;
  } finally {
    clearInterval(watch);
  }
}

function endIfInTheWay(copy: CheckpointCopy, { now, patienceMs }: BackupParts): void {
  const since = copy.point.waitsSince;
  if (since === undefined || now() - since < patienceMs) return;
  copy.end(
    'it was in the way of what the guest writes, and protection comes first: copy to a faster disk, or while the guest writes less',
  );
}

/** Bytes that were written. */
async function copyAll(source: BackupSource, copy: CheckpointCopy, folder: BackupFolder): Promise<number> {
  const each = Array.from({ length: copiers }, () => copyBlocks(source, copy, folder));
  const results = await Promise.allSettled(each);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  if (copy.isOver) throw new Error(copy.why);
  return results.reduce((sum, result) => sum + (result.status === 'fulfilled' ? result.value : 0), 0);
}

async function copyBlocks(source: BackupSource, copy: CheckpointCopy, folder: BackupFolder): Promise<number> {
  const { point } = copy;
  const buffer = new DiskBuffer(backupBlockBytes);
  let written = 0;
  try {
    for (let block = point.next(); block !== undefined; block = point.next()) {
      await readBlock(source, copy, block, buffer);
      point.copied(block);
      const bytes = buffer.bytes.subarray(0, block.lengthBytes);
      if (isZero(bytes)) continue;
      await folder.write(block.disk, block.offset, bytes);
      written += bytes.length;
    }
    return written;
  } catch (error) {
    // The others need not go on.
    copy.end((error as Error).message);
    throw error;
  } finally {
    buffer.close();
  }
}

async function readBlock(
  source: BackupSource,
  copy: CheckpointCopy,
  block: BackupBlock,
  buffer: DiskBuffer,
): Promise<void> {
  const result = await source.read(block.disk, block.offset, block.lengthBytes, buffer);
  // Whatever was read is of no checkpoint then, perhaps.
  if (copy.isOver) throw new Error(copy.why ?? 'it is over');
  const { id } = source.disks[block.disk] as BackupDisk;
  if (result < 0) throw new Error(`disk ${id} cannot be read: ${errnoName(-result)}`);
}

const zeros = Buffer.alloc(backupBlockBytes);

function isZero(bytes: Uint8Array): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
