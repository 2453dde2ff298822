import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { bytes, struct, u32, u64 } from '../host/layout.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import { viewMemory } from '../host/libc/memory.ts';
import { AnonymousMapping } from '../host/mappings/mapping.ts';
import { DiskError } from './disk-error.ts';
import { type DiskFile, openDiskFile } from './disk-file.ts';
import { overlayMagic } from './disk-format.ts';

/**
 * The file of a copy-on-write overlay.
 *
 *     0              header, one block
 *     4096           allocation bitmap: bit n is set if block n is here; clear if it is as in the base
 *     data offset    block n at n * 4096; a hole, or whatever, while its bit is clear
 *
 * Numbers are little-endian. A block that reads as zero (discarded, zeroed) is allocated like any other, usually as a
 * hole. A bit reaches the file only after the data of its block is durable, and nothing else depends on order: so the
 * file is sound at every moment.
 */
export const overlayBlockBytes = 4096;
const version = 1;
const magic = new TextEncoder().encode(overlayMagic);

export const overlayHeader = struct('overlay_header', {
  magic: bytes(8),
  version: u32,
  blockBytes: u32,
  sizeBytes: u64,
  bitmapOffset: u64,
  dataOffset: u64,
  /** CRC-32 of what stands before. */
  checksum: u32,
});

export interface OverlayLayout {
  readonly bitmapOffset: number;
  readonly bitmapBytes: number;
  readonly dataOffset: number;
  readonly fileBytes: number;
}

export function overlayLayout(sizeBytes: number): OverlayLayout {
  const blocks = Math.ceil(sizeBytes / overlayBlockBytes);
  const bitmapOffset = overlayBlockBytes;
  const bitmapBytes = Math.ceil(blocks / 8 / overlayBlockBytes) * overlayBlockBytes;
  const dataOffset = bitmapOffset + bitmapBytes;
  return { bitmapOffset, bitmapBytes, dataOffset, fileBytes: dataOffset + blocks * overlayBlockBytes };
}

/** An overlay's file, open and locked. */
export interface OpenOverlay {
  readonly file: DiskFile;
  readonly layout: OverlayLayout;
  /** The bitmap as it is now, for all threads that have it open: see AllocationMap. */
  readonly map: SharedArrayBuffer;
}

/**
 * Opens the overlay `path` over a base of `sizeBytes`; makes it if there is none.
 *
 * @throws DiskError
 */
export function openOverlay(path: string, sizeBytes: number, options: { direct?: boolean } = {}): OpenOverlay {
  createOverlay(path, sizeBytes);
  const file = openDiskFile(path, { ...options, raw: true });
  try {
    const layout = checkOverlay(path, file.fd, file.sizeBytes, sizeBytes);
    return { file, layout, map: readMap(path, file.fd, layout) };
  } catch (error) {
    closeSync(file.fd);
    throw error;
  }
}

/**
 * Makes the overlay `path` over a base of `sizeBytes` unless there is one. It appears whole or not at all.
 *
 * @throws DiskError
 */
function createOverlay(path: string, sizeBytes: number): void {
  if (existsSync(path)) return;
  const unfinished = `${path}.${process.pid}.new`;
  try {
    const fd = openSync(unfinished, 'w', 0o600);
    try {
      writeSync(fd, header(sizeBytes));
      ftruncateSync(fd, overlayLayout(sizeBytes).fileBytes);
      fsyncSync(fd);
      linkSync(unfinished, path);
    } finally {
      closeSync(fd);
      unlinkSync(unfinished);
    }
    syncFolder(dirname(path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return; // someone else was faster: the lock decides
    throw new DiskError(
      `overlay ${path} cannot be made: ${code ?? String(error)}; its folder must exist and be writable`,
      {
        cause: error,
      },
    );
  }
}

/**
 * Checks that the open file is an overlay over a base of `sizeBytes`.
 *
 * @throws DiskError
 */
function checkOverlay(path: string, fd: Fd, fileBytes: number, sizeBytes: number): OverlayLayout {
  const found = overlayHeader.allocate();
  const count = readSync(fd, found.$bytes, 0, overlayHeader.size, 0);
  if (count < overlayHeader.size || !magic.every((byte, index) => found.magic[index] === byte)) {
    throw new DiskError(`${path} is not an overlay: name another file, or remove it to have one made`);
  }
  if (found.version !== version) {
    throw new DiskError(
      `overlay ${path} has format version ${found.version}; this program knows version ${version} only`,
    );
  }
  if (found.checksum !== checksumOf(found.$bytes)) {
    throw new DiskError(`overlay ${path} has a damaged header: its checksum is wrong; restore it from a copy`);
  }
  if (Number(found.sizeBytes) !== sizeBytes) {
    throw new DiskError(
      `overlay ${path} belongs to a base of ${found.sizeBytes} bytes, this one has ${sizeBytes}: name its own base`,
    );
  }
  const layout = overlayLayout(sizeBytes);
  const sound =
    found.blockBytes === overlayBlockBytes &&
    Number(found.bitmapOffset) === layout.bitmapOffset &&
    Number(found.dataOffset) === layout.dataOffset;
  if (!sound) throw new DiskError(`overlay ${path} has a header that contradicts itself; restore it from a copy`);
  if (fileBytes < layout.fileBytes) {
    throw new DiskError(
      `overlay ${path} is truncated: ${fileBytes} bytes of ${layout.fileBytes}; restore it from a copy`,
    );
  }
  return layout;
}

/** The bitmap, and a byte for each page of it. Read through memory that direct I/O takes. */
function readMap(path: string, fd: Fd, { bitmapOffset, bitmapBytes }: OverlayLayout): SharedArrayBuffer {
  const map = new SharedArrayBuffer(bitmapBytes + bitmapBytes / overlayBlockBytes);
  const bits = new Uint8Array(map);
  const pieceBytes = Math.min(bitmapBytes, 1 << 20);
  const mapping = new AnonymousMapping('bitmap', pieceBytes);
  try {
    const piece = new Uint8Array(viewMemory(mapping.address, pieceBytes));
    for (let at = 0; at < bitmapBytes; ) {
      const count = readSync(fd, piece, 0, Math.min(pieceBytes, bitmapBytes - at), bitmapOffset + at);
      if (count === 0) throw new DiskError(`overlay ${path} is truncated within its bitmap; restore it from a copy`);
      bits.set(piece.subarray(0, count), at);
      at += count;
    }
  } finally {
    mapping.close();
  }
  return map;
}

function header(sizeBytes: number): Uint8Array {
  const made = overlayHeader.allocate();
  const layout = overlayLayout(sizeBytes);
  made.magic = magic;
  made.version = version;
  made.blockBytes = overlayBlockBytes;
  made.sizeBytes = BigInt(sizeBytes);
  made.bitmapOffset = BigInt(layout.bitmapOffset);
  made.dataOffset = BigInt(layout.dataOffset);
  made.checksum = checksumOf(made.$bytes);
  return made.$bytes;
}

/** CRC-32 (IEEE 802.3) of the header up to its checksum. */
function checksumOf(headerBytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of headerBytes.subarray(0, overlayHeader.offsets.checksum)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return ~crc >>> 0;
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
