import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { crc32 } from 'node:zlib';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { nextData } from '../../host/file-region.ts';
import type { Fd } from '../../host/libc.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { Ram } from '../../memory/ram.ts';
import { checksumOfHole } from './ram-writer.ts';
import { SnapshotError } from './snapshot-error.ts';
import { chunkBytes, chunkPages, decodePrelude, type Prelude, ramOffset } from './snapshot-format.ts';
import { decodeTail, type SnapshotTail } from './snapshot-tail.ts';

/** More snapshots than anyone has on top of each other. */
const longestChain = 1000;
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

  /** @throws SnapshotError that says what is wrong, of which file */
  constructor(path: string, depth = 0) {
    this.path = resolve(path);
    if (depth > longestChain) throw new SnapshotError(`${path}: is based on more than ${longestChain} snapshots`);
    try {
      this.#fd = openToRead(path);
      this.#owner.defer(() => closeSync(this.#fd));
      const prelude = readPrelude(this.#fd, path);
      this.#ramBytes = prelude.ramBytes;
      this.tail = readTail(this.#fd, path, prelude);
      this.#checkRam();
      this.#base = this.#openBase(depth);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** RAM as it was. Its pages are read when they are first touched, so the files must stay as they are. */
  mapRam(): Ram {
    const ram = this.#base?.mapRam() ?? new Ram(this.#ramBytes, { fd: this.#fd, offset: ramOffset });
    try {
      this.#held?.forEachRun((page, pages) => {
        ram.overlayFile({ fd: this.#fd, offset: ramOffset + page * pageSize }, page, pages);
      });
      return ram;
    } catch (error) {
      ram.close();
      throw error;
    }
  }

  close(): void {
    this.#owner.close();
  }

  /** The pages that it holds; undefined if it holds all. */
  get #held(): DirtyBitmap | undefined {
    const { pages } = this.tail;
    if (pages === null) return undefined;
    const held = new DirtyBitmap(this.#ramBytes / pageSize);
    new Uint8Array(held.words.buffer).set(pages);
    return held;
  }

  #openBase(depth: number): Snapshot | undefined {
    const { base } = this.tail;
    if (base === null) return undefined;
    const path = resolve(dirname(this.path), base.path);
    const opened = this.#owner.own(new Snapshot(path, depth + 1));
    if (opened.tail.id !== base.id) {
      throw new SnapshotError(`${this.path}: is based on ${path}, and that has been overwritten by another snapshot`);
    }
    if (opened.#ramBytes !== this.#ramBytes) {
      throw new SnapshotError(`${this.path}: is based on ${path}, which is of a machine with other RAM`);
    }
    return opened;
  }

  /** Reads what is no hole; what is one must have been one. */
  #checkRam(): void {
    const { checksums: bytes, pages, state } = this.tail;
    const ramPages = this.#ramBytes / pageSize;
    const chunks = Math.ceil(ramPages / chunkPages);
    const bitmapBytes = Math.ceil(ramPages / 64) * 8;
    const bad = (what: string): SnapshotError => new SnapshotError(`${this.path}: is damaged: ${what}`);
    if (bytes.length !== chunks * 4) throw bad('it has not one checksum for each part of RAM');
    if ((pages === null) !== (this.tail.base === null)) throw bad('it does not say which pages it holds');
    if (pages !== null && pages.length !== bitmapBytes)
      throw bad('it says of more pages than there are that it holds them');
    if (state.memoryBytes !== this.#ramBytes) throw bad('it has other RAM than its machine');
    const checksums = new Uint32Array(bytes.slice().buffer);
    const buffer = Buffer.alloc(readBytes);
    let holesTo = 0;
    const hole = checksumOfHole(chunkPages);
    const checkHoles = (end: number): void => {
      for (; holesTo < end; holesTo++) {
        const length = Math.min(chunkPages, ramPages - holesTo * chunkPages);
        const expected = length === chunkPages ? hole : checksumOfHole(length);
        if (checksums[holesTo] !== expected)
          throw bad(`page ${holesTo * chunkPages} of RAM and those behind it are missing`);
      }
    };
    const end = ramOffset + this.#ramBytes;
    for (let at = ramOffset; at < end; ) {
      const data = Math.min(nextData(this.#fd, at) ?? end, end);
      const chunk = Math.floor((data - ramOffset) / chunkBytes);
      checkHoles(data === end ? chunks : chunk);
      if (data === end) return;
      const from = ramOffset + chunk * chunkBytes;
      const length = Math.min(readBytes, end - from);
      readFully(this.#fd, buffer, length, from, this.path);
      for (let offset = 0; offset < length; offset += chunkBytes) {
        const part = buffer.subarray(offset, Math.min(offset + chunkBytes, length));
        const index = chunk + offset / chunkBytes;
        if (crc32(part) !== checksums[index]) {
          throw bad(
            `RAM differs from what was written, at page ${index * chunkPages} or up to ${chunkPages} behind it`,
          );
        }
      }
      at = from + length;
      holesTo = chunk + Math.ceil(length / chunkBytes);
    }
    checkHoles(chunks);
  }
}

function openToRead(path: string): Fd {
  try {
    return openSync(path, 'r') as Fd;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission to read it' : (error as Error).message;
    throw new SnapshotError(`${path}: ${reason}`);
  }
}

function readPrelude(fd: Fd, path: string): Prelude {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw new SnapshotError(`${path}: is no file`);
  const page = Buffer.alloc(pageSize);
  const prelude = decodePrelude(page.subarray(0, readSync(fd, page, 0, pageSize, 0)));
  if (typeof prelude === 'string') throw new SnapshotError(`${path}: ${prelude}`);
  const whole = prelude.tailOffset + prelude.tailBytes;
  if (stat.size < whole) {
    throw new SnapshotError(
      `${path}: was cut: it has ${stat.size} bytes of ${whole}; copy it again, or take another one`,
    );
  }
  if (stat.size > whole) throw new SnapshotError(`${path}: has ${stat.size} bytes where a snapshot has ${whole}`);
  return prelude;
}

function readTail(fd: Fd, path: string, { tailOffset, tailBytes, tailChecksum }: Prelude): SnapshotTail {
  const bytes = Buffer.alloc(tailBytes);
  readFully(fd, bytes, tailBytes, tailOffset, path);
  if (crc32(bytes) !== tailChecksum) {
    throw new SnapshotError(`${path}: is damaged: the machine's state differs from what was written`);
  }
  try {
    return decodeTail(bytes);
  } catch (error) {
    if (error instanceof VmStateError) throw new SnapshotError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

function readFully(fd: Fd, buffer: Uint8Array, length: number, at: number, path: string): void {
  for (let done = 0; done < length; ) {
    const count = readSync(fd, buffer, done, length - done, at + done);
    if (count === 0) throw new SnapshotError(`${path}: was cut while it was read`);
    done += count;
  }
}
