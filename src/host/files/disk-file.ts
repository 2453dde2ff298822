import { readdirSync, readFileSync } from 'node:fs';
import { EACCES, EAGAIN } from '../errno.ts';
import { bytes, s16, s32, s64, struct, u32 } from '../layout.ts';
import type { Fd } from '../libc/descriptors.ts';
import { ioctl } from '../libc/ioctl.ts';
import { declare, lastErrno } from '../libc/library.ts';
import { SystemError } from '../system-error.ts';

/** What the system knows of a file or block device that a disk is made of. */

const BLKGETSIZE64 = 0x80081272;
const BLKSSZGET = 0x1268;
const BLKPBSZGET = 0x127b;

/** Size, sector size and physical block size of a block device, in bytes. */
export function blockDeviceGeometry(fd: Fd, path: string): { size: number; logical: number; physical: number } {
  const size = new Uint8Array(8);
  const number = new Uint8Array(4);
  const ask = (name: string, request: number, answer: Uint8Array): DataView => {
    ioctl(fd, { name, number: request }, answer, path);
    return new DataView(answer.buffer);
  };
  return {
    size: Number(ask('BLKGETSIZE64', BLKGETSIZE64, size).getBigUint64(0, true)),
    logical: ask('BLKSSZGET', BLKSSZGET, number).getUint32(0, true),
    physical: ask('BLKPBSZGET', BLKPBSZGET, number).getUint32(0, true),
  };
}

/** struct statx, as much as direct I/O needs. */
export const statx = struct(
  'statx',
  { stx_mask: u32, stx_blksize: u32, rest: bytes(144), dio_mem_align: u32, dio_offset_align: u32 },
  256,
);

const statxCall = declare<[number, string, number, number, Uint8Array], number>(
  'int statx(int, const char *, int, unsigned int, uint8_t *)',
);

/**
 * What direct I/O on `fd` has to be aligned to: memory addresses, offsets and lengths, in bytes. 0: the file system has
 * no direct I/O for it. Undefined: the kernel cannot tell (before 6.1).
 */
export function directAlignment(fd: Fd): number | undefined {
  const AT_EMPTY_PATH = 0x1000;
  const STATX_DIOALIGN = 0x2000;
  const answer = statx.allocate();
  if (statxCall(fd, '', AT_EMPTY_PATH, STATX_DIOALIGN, answer.$bytes) < 0) return undefined;
  if ((answer.stx_mask & STATX_DIOALIGN) === 0) return undefined;
  return Math.max(answer.dio_mem_align, answer.dio_offset_align);
}

const fcntlNumber = declare<[number, number, number], number>('int fcntl(int, int, int)');

/** Calls on `fd` wait from now on, though it was opened with O_NONBLOCK. */
export function waitForFile(fd: Fd, path: string): void {
  const [F_GETFL, F_SETFL, O_NONBLOCK] = [3, 4, 0x800];
  const flags = fcntlNumber(fd, F_GETFL, 0);
  if (flags < 0) throw new SystemError('F_GETFL', lastErrno(), path);
  if (fcntlNumber(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) throw new SystemError('F_SETFL', lastErrno(), path);
}

/** struct flock. */
export const flock = struct('flock', { l_type: s16, l_whence: s16, l_start: s64, l_len: s64, l_pid: s32 });

const fcntlCall = declare<[number, number, Uint8Array], number>('int fcntl(int, int, uint8_t *)');

/**
 * Locks the whole file for as long as this descriptor is open: readers share, a writer is alone. False: someone else has
 * it. These locks belong to the open file, not to the process (open file description locks, fcntl(2)).
 */
export function lockFile(fd: Fd, exclusive: boolean, path: string): boolean {
  const F_OFD_SETLK = 37;
  const F_RDLCK = 0;
  const F_WRLCK = 1;
  const lock = flock.allocate();
  lock.l_type = exclusive ? F_WRLCK : F_RDLCK;
  if (fcntlCall(fd, F_OFD_SETLK, lock.$bytes) === 0) return true;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === EACCES) return false;
  throw new SystemError('F_OFD_SETLK', errno, path);
}

/**
 * A process that holds a lock on the file with this inode number: "pid 123 (qemu)". Undefined if no process that we may
 * look into does. The kernel's list of locks names no process for locks of this kind, but each descriptor tells its own.
 */
export function lockHolder(inode: number): string | undefined {
  const held = new RegExp(`^lock:.*:${inode} `, 'm');
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
        if (!held.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))) continue;
        return `pid ${pid} (${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()})`;
      }
    } catch {
      // It ended meanwhile, or is another user's.
    }
  }
  return undefined;
}
