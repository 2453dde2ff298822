import { closeSync, constants, fstatSync, openSync, readSync, realpathSync, statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { crc32 } from 'node:zlib';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { nextData } from '../../host/files/file-region.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { MiB, pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { Ram } from '../../memory/ram.ts';
import { checksumOfHole } from './ram-writer.ts';
import { SnapshotError } from './snapshot-error.ts';
import { chunkBytes, chunkPages, decodePrelude, longestChain, type Prelude, ramOffset } from './snapshot-format.ts';
import { decodeTail, type SnapshotTail } from './snapshot-tail.ts';

/** Bytes read at a time while RAM is checked. */
const readBytes = 16 * chunkBytes;

/** A snapshot whose file is open and found to be whole, with all that it is based on. */
export class Snapshot implements Closable {
  readonly path: string;
  readonly tail: SnapshotTail;
  readonly #owner = new Owner();
  readonly #fd: Fd;
  readonly #ramBytes: number;
  readonly #base: Snapshot | undefined;

  /**
   * @param above what is based on it, by id; RAM is not checked then
   * @throws SnapshotError that says what is wrong, of which file
   */
  constructor(path: string, above: readonly string[] = []) {
    this.path = path;
    try {
      this.#fd = openToRead(path);
      this.#owner.defer(() => closeSync(this.#fd));
      const prelude = readPrelude(this.#fd, path);
      this.#ramBytes = prelude.ramBytes;
      this.tail = readTail(this.#fd, path, prelude);
      this.#checkTail();
      this.#base = this.#openBase(above);
      // Last, for it takes longer than all else.
      if (above.length === 0) this.#checkRam();
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /**
   * RAM as it was. Its pages are read when they are first touched, so the files must stay as they are.
   *
   * @throws SnapshotError
   */
  mapRam(): Ram {
    if (this.#base === undefined) requireRoomForHoles(this.#fd, this.path);
    const ram = this.#base?.mapRam() ?? this.#named(() => new Ram(this.#ramBytes, { fd: this.#fd, offset: ramOffset }));
    try {
      this.#named(() =>
        this.#held?.forEachRun((page, pages) => {
          ram.overlayFile({ fd: this.#fd, offset: ramOffset + page * pageSize }, page, pages);
        }),
      );
      return ram;
    } catch (error) {
      ram.close();
      throw error;
    }
  }

  close(): void {
    this.#owner.close();
  }

  /** Has an error name the file. */
  #named<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      const { message } = error as Error;
      throw new SnapshotError(`${this.path}: its memory cannot be mapped: ${message}`, { cause: error });
    }
  }

  /** The pages that it holds; undefined if it holds all. */
  get #held(): DirtyBitmap | undefined {
    const { pages } = this.tail;
    if (pages === null) return undefined;
    const held = new DirtyBitmap(this.#ramBytes / pageSize);
    new Uint8Array(held.words.buffer).set(pages);
    return held;
  }

  #openBase(above: readonly string[]): Snapshot | undefined {
    const { base, id } = this.tail;
    if (base === null) return undefined;
    const known = [...above, id];
    if (known.length >= longestChain) {
      throw new SnapshotError(`${this.path}: there are more than ${longestChain} snapshots on top of each other`);
    }
    const path = resolve(dirname(realpathSync(this.path)), base.path);
    const needed = `${this.path}: holds only what changed since ${path}`;
    if (known.includes(base.id)) throw new SnapshotError(`${needed}, and that is based on this one`);
    let opened: Snapshot;
    try {
      opened = this.#owner.own(new Snapshot(path, known));
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      throw new SnapshotError(`${needed}, which cannot be used: ${error.message}`, { cause: error });
    }
    if (opened.tail.id !== base.id) {
      throw new SnapshotError(`${needed}, and there is another snapshot now; put back the one that was there`);
    }
    if (opened.#ramBytes !== this.#ramBytes) {
      throw new SnapshotError(`${needed}, and that is of a machine with other RAM`);
    }
    return opened;
  }

  #damaged(what: string): SnapshotError {
    return new SnapshotError(`${this.path}: is damaged: ${what}; copy it again, or take another one`);
  }

  /** What the tail says of RAM fits together. */
  #checkTail(): void {
    const { base, checksums, pages, state } = this.tail;
    const ramPages = this.#ramBytes / pageSize;
    if (checksums.length !== Math.ceil(ramPages / chunkPages) * 4)
      throw this.#damaged('RAM has more checksums or fewer');
    if ((pages === null) !== (base === null)) throw this.#damaged('it does not say which pages it holds');
    if (pages !== null && pages.length !== Math.ceil(ramPages / 64) * 8) {
      throw this.#damaged('it says of more pages or fewer than RAM has whether it holds them');
    }
    if (state.memoryBytes !== this.#ramBytes) throw this.#damaged('its machine has other RAM');
  }

  /** Reads what is no hole, here and in what it is based on; what is one must have been one. */
  #checkRam(): void {
    if (this.#base !== undefined) this.#base.#checkRam();
    const checksums = new Uint32Array(this.tail.checksums.slice().buffer);
    const hole = checksumOfHole(chunkPages);
    const lastChunk = checksums.length - 1;
    const holeAtEnd = checksumOfHole(this.#ramBytes / pageSize - lastChunk * chunkPages);
    const end = ramOffset + this.#ramBytes;
    const buffer = Buffer.alloc(readBytes);
    for (let chunk = 0; chunk < checksums.length; ) {
      const data = Math.min(nextData(this.#fd, ramOffset + chunk * chunkBytes) ?? end, end);
      const nextChunk = data === end ? checksums.length : Math.floor((data - ramOffset) / chunkBytes);
      for (; chunk < nextChunk; chunk++) {
        if (checksums[chunk] !== (chunk === lastChunk ? holeAtEnd : hole)) {
          throw this.#damaged(
            `page ${chunk * chunkPages} of RAM, or one of the ${chunkPages} from there on, is missing`,
          );
        }
      }
      if (chunk === checksums.length) return;
      const length = Math.min(readBytes, end - ramOffset - chunk * chunkBytes);
      readFully(this.#fd, buffer.subarray(0, length), ramOffset + chunk * chunkBytes, this.path);
      for (let offset = 0; offset < length; offset += chunkBytes, chunk++) {
        if (crc32(buffer.subarray(offset, Math.min(offset + chunkBytes, length))) !== checksums[chunk]) {
          throw this.#damaged(
            `page ${chunk * chunkPages} of RAM, or one of the ${chunkPages} from there on, has changed`,
          );
        }
      }
    }
  }
}

function openToRead(path: string): Fd {
  try {
    // Not blocking, for a FIFO would.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) as Fd;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission to read it' : (error as Error).message;
    throw new SnapshotError(`${path}: ${reason}`, { cause: error });
  }
}

/**
 * A hole that is touched through a mapping takes room in a tmpfs, unlike on a disk. Where there is none left the guest would
 * end with SIGBUS.
 */
function requireRoomForHoles(fd: Fd, path: string): void {
  const TMPFS_MAGIC = 0x0102_1994;
  const system = statfsSync(path);
  if (system.type !== TMPFS_MAGIC || system.blocks === 0) return; // 0: as large as it likes
  const { size, blocks } = fstatSync(fd);
  const missing = size - blocks * 512 - system.bavail * system.bsize;
  if (missing <= 0) return;
  throw new SnapshotError(
    `${path}: is on a tmpfs that is too full: its holes take room there once the guest touches them; make room for ` +
      `${Math.ceil(missing / MiB)} MiB, or copy it elsewhere`,
  );
}

function readPrelude(fd: Fd, path: string): Prelude {
  const stat = fstatSync(fd);
  if (stat.isDirectory()) throw new SnapshotError(`${path}: is a folder; give the path of a snapshot`);
  if (!stat.isFile()) throw new SnapshotError(`${path}: is no file, and snapshots are`);
  const page = Buffer.alloc(pageSize);
  const prelude = decodePrelude(page.subarray(0, readSync(fd, page, 0, pageSize, 0)));
  if (typeof prelude === 'string') throw new SnapshotError(`${path}: ${prelude}`);
  const whole = prelude.tailOffset + prelude.tailBytes;
  if (stat.size < whole) {
    throw new SnapshotError(
      `${path}: was cut: it has ${stat.size} bytes of ${whole}; copy it again, or take another one`,
    );
  }
  if (stat.size > whole) {
    throw new SnapshotError(`${path}: is damaged: it has ${stat.size} bytes instead of ${whole}; copy it again`);
  }
  return prelude;
}

function readTail(fd: Fd, path: string, { tailOffset, tailBytes, tailChecksum }: Prelude): SnapshotTail {
  const bytes = Buffer.alloc(tailBytes);
  readFully(fd, bytes, tailOffset, path);
  if (crc32(bytes) !== tailChecksum) {
    throw new SnapshotError(
      `${path}: is damaged: the state of the machine has changed; copy it again, or take another one`,
    );
  }
  try {
    return decodeTail(bytes);
  } catch (error) {
    if (error instanceof VmStateError) throw new SnapshotError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

function readFully(fd: Fd, buffer: Uint8Array, at: number, path: string): void {
  for (let done = 0; done < buffer.length; ) {
    const count = readSync(fd, buffer, done, buffer.length - done, at + done);
    if (count === 0) throw new SnapshotError(`${path}: was cut while it was read`);
    done += count;
  }
}
