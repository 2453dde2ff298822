import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { blockDeviceGeometry, directAlignment, lockFile, lockHolder, waitForFile } from '../host/files/disk-file.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import { DiskError } from './disk-error.ts';
import { foreignFormat, headBytes, partitionTableSector } from './disk-format.ts';

/** Disks count in these (Virtio 1.2, 5.2). */
export const sectorBytes = 512;

export interface DiskFileOptions {
  readonly readOnly?: boolean;
  /** Bypass the host's page cache (O_DIRECT). */
  readonly direct?: boolean;
  /** The file's bytes are the disk's, whatever they look like; default: what begins as an image of another format is refused. */
  readonly raw?: boolean;
  /** Bytes of the disk's sectors, of which its size must be a multiple; default 512. */
  readonly sector?: number;
}

/** A file or block device, open and locked: all that a thread must know to use it as a disk. */
export interface DiskFile {
  readonly path: string;
  readonly fd: Fd;
  /** A file in a file system, not a device. */
  readonly regular: boolean;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes: number;
  readonly discardBytes: number;
  /** Alignment that memory, offsets and lengths of data need: 1 but for direct I/O. */
  readonly alignment: number;
  /** Alignment that offset and length of a hole need: 1 for files. */
  readonly holeAlignment: number;
  /** Bytes of a sector as the partition table has it, where one tells. */
  readonly tableSector?: number;
}

/**
 * Opens and locks `path`.
 *
 * @throws DiskError if it is no disk, cannot be opened, or someone else has it
 */
export function openDiskFile(path: string, options: DiskFileOptions = {}): DiskFile {
  const { readOnly = false, direct = false, raw = false, sector = sectorBytes } = options;
  const fd = openDisk(path, readOnly, direct);
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new DiskError(`disk ${path} is a directory: name a file or a block device`);
    if (!stat.isFile() && !stat.isBlockDevice()) {
      throw new DiskError(`disk ${path} is neither a file nor a block device`);
    }
    // Needed only to open what may be a FIFO. On devices that cannot say at once whether a request would wait, io_uring
    // gives EAGAIN for each one of such a descriptor (Linux 6.0 to 6.4 on dm-crypt, dm-thin).
    waitForFile(fd, path);
    lock(fd, path, stat.ino, readOnly);
    const device = stat.isBlockDevice() ? blockDeviceGeometry(fd, path) : undefined;
    const sizeBytes = device?.size ?? stat.size;
    const alignment = direct ? directAlignmentOf(fd, path, device?.logical) : 1;
    const unit = Math.max(sector, alignment);
    if (sizeBytes === 0) throw new DiskError(`disk ${path} is empty: give it a size, as with truncate -s 1G ${path}`);
    if (sizeBytes % unit !== 0) {
      throw new DiskError(
        `disk ${path} has ${sizeBytes} bytes, not a multiple of ${unit}: truncate -s %${unit} ${path} mends that`,
      );
    }
    const head = firstBytes(fd);
    const format = raw ? undefined : foreignFormat(head);
    if (format !== undefined) throw new DiskError(`disk ${path} ${notRaw(format, path)}`);
    const tableSector = partitionTableSector(head);
    return {
      path,
      regular: stat.isFile(),
      fd,
      sizeBytes,
      readOnly,
      physicalBlockBytes: Math.max(unit, device?.physical ?? stat.blksize),
      discardBytes: Math.max(unit, device === undefined ? stat.blksize : discardGranularity(stat.rdev)),
      alignment,
      holeAlignment: device?.logical ?? 1,
      ...(tableSector === undefined ? {} : { tableSector }),
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * An open file of its own for another thread that writes the same disk and flushes it: the kernel tells each open file once of data
 * that it could not write, whichever thread asks. The lock stays the first one's. Close it before that.
 *
 * @throws DiskError if it cannot be opened
 */
export function reopenDiskFile(file: DiskFile): DiskFile {
  const { O_RDONLY, O_RDWR, O_DIRECT } = constants;
  const { fd, path, readOnly, alignment } = file;
  try {
    const flags = (readOnly ? O_RDONLY : O_RDWR) | (alignment > 1 ? O_DIRECT : 0);
    // Not by its path, where something else may be by now.
    return { ...file, fd: openSync(`/proc/self/fd/${fd}`, flags) as Fd };
  } catch (error) {
    throw new DiskError(`disk ${path} ${whyNotOpen(error, path, alignment > 1)}`, { cause: error });
  }
}

/** A process that was killed is gone before its io_uring, which holds on to its files, within this time as a rule. */
const lockPatienceMs = 1000;
const lockAgainMs = 10;

/** Locks a disk, waiting for a lock only while no process seems to hold it. @throws DiskError that names who does */
function lock(fd: Fd, path: string, inode: number, readOnly: boolean): void {
  const deadline = performance.now() + lockPatienceMs;
  while (!lockFile(fd, !readOnly, path)) {
    const holder = lockHolder(inode);
    if (holder !== undefined || performance.now() > deadline) {
      const use = readOnly ? 'is being written to' : 'is in use';
      throw new DiskError(`disk ${path} ${use} by ${holder ?? 'another process'}: end that first, or use a copy`);
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockAgainMs);
  }
}

function openDisk(path: string, readOnly: boolean, direct: boolean): Fd {
  const { O_RDONLY, O_RDWR, O_DIRECT, O_EXCL, O_NONBLOCK } = constants;
  try {
    // On a block device O_EXCL fails while the host has it mounted; without O_CREAT it means nothing elsewhere.
    const exclusive = !readOnly && statSync(path).isBlockDevice() ? O_EXCL : 0;
    const flags = (readOnly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | exclusive | O_NONBLOCK;
    return openSync(path, flags) as Fd;
  } catch (error) {
    throw new DiskError(`disk ${path} ${whyNotOpen(error, path, direct)}`, { cause: error });
  }
}

function whyNotOpen(error: unknown, path: string, direct: boolean): string {
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case 'ENOENT':
      return `does not exist: truncate -s 1G ${path} makes an empty one`;
    case 'EACCES':
    case 'EPERM':
      return 'may not be opened by this user: change its permissions, or use readonly=on if it may be read';
    case 'EROFS':
      return 'is on a read-only file system: use readonly=on';
    case 'EISDIR':
      return 'is a directory: name a file or a block device';
    case 'EBUSY':
      return 'is in use by the host, perhaps mounted: unmount it first';
    case 'EINVAL':
      if (direct) return 'is on a file system without direct I/O: use direct=off';
      break;
  }
  return `cannot be opened: ${code ?? String(error)}`;
}

/** Read by a descriptor of their own: the disk's may take nothing but aligned memory. */
function firstBytes(fd: Fd): Uint8Array {
  const head = new Uint8Array(headBytes);
  const reader = openSync(`/proc/self/fd/${fd}`, 'r');
  try {
    return head.subarray(0, readSync(reader, head, 0, headBytes, 0));
  } finally {
    closeSync(reader);
  }
}

function notRaw(format: string, path: string): string {
  if (format === 'overlay') return `is an overlay: name its base with path=, and this file with overlay=${path}`;
  return (
    `is a ${format} image, and disks here are raw: qemu-img convert -O raw ${path} NEW.img makes a raw one; ` +
    'format=raw takes its bytes as they are'
  );
}

/** @param sector of a block device; undefined for a file */
function directAlignmentOf(fd: Fd, path: string, sector: number | undefined): number {
  const alignment = directAlignment(fd);
  if (alignment === 0) throw new DiskError(`disk ${path} is on a file system without direct I/O: use direct=off`);
  // Where the kernel cannot tell, a page suits every file system there is.
  return Math.max(alignment ?? sector ?? 4096, sector ?? 1);
}

function discardGranularity(device: number): number {
  const major = (device >> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  try {
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/queue/discard_granularity`, 'utf8')) || sectorBytes;
  } catch {
    return sectorBytes; // a partition has no queue of its own
  }
}
