import { crc32 } from 'node:zlib';
import { bytes, struct, u32, u64 } from '../../host/layout.ts';
import { GiB, MiB, pageSize } from '../../memory/address.ts';

/**
 * A snapshot is one file:
 *
 *     0          prelude, one page; written last
 *     4096       RAM: page n, counted without the hole, at 4096 + 4096 * n
 *     tail       CBOR: what the machine is made of, its state, the checksums of RAM
 *
 * RAM lies there as it is, so that it can be mapped and read page by page when a guest touches it. Pages of zeros are
 * holes. A snapshot that has a base holds only pages that changed since that one was taken, and has holes for the others.
 *
 * Every byte has a checksum (CRC-32): the prelude and the tail each have one, RAM has one for every 16 pages as the file
 * has them, holes as zeros. Numbers are little-endian. Files of all versions have magic, version and checksum in the same
 * place.
 */
export const ramOffset = pageSize;

/** Pages with one checksum. */
export const chunkPages = 16;
export const chunkBytes = chunkPages * pageSize;

/** Newest version of the format that this program knows, and the one that it writes. */
export const formatVersion = 1;

/** Snapshots on top of each other, at most: all of them are open while one is restored. */
export const longestChain = 100;

/** More than any host has. */
const mostRamBytes = 1024 * GiB;
/** The checksums of so much RAM, twice. */
const mostTailBytes = 128 * MiB;

export const magic = new TextEncoder().encode('COLOSNAP');

export const prelude = struct('snapshot_prelude', {
  magic: bytes(8),
  version: u32,
  /** Of this page but for this field. */
  checksum: u32,
  ramBytes: u64,
  tailOffset: u64,
  tailBytes: u64,
  tailChecksum: u32,
});

/** The first page of a snapshot. */
export function encodePrelude(ramBytes: number, tail: Uint8Array): Uint8Array {
  const page = new Uint8Array(pageSize);
  const fields = prelude.over(page);
  fields.magic = magic;
  fields.version = formatVersion;
  fields.ramBytes = BigInt(ramBytes);
  fields.tailOffset = BigInt(ramOffset + ramBytes);
  fields.tailBytes = BigInt(tail.length);
  fields.tailChecksum = crc32(tail);
  fields.checksum = preludeChecksum(page);
  return page;
}

export function preludeChecksum(page: Uint8Array): number {
  const { checksum } = prelude.offsets;
  return crc32(page.subarray(checksum + 4), crc32(page.subarray(0, checksum)));
}

/** Where the parts of a snapshot lie. */
export interface Prelude {
  readonly ramBytes: number;
  readonly tailOffset: number;
  readonly tailBytes: number;
  readonly tailChecksum: number;
}

/** Whether a file that begins with `bytes` claims to be a snapshot. */
export function hasMagic(bytes: Uint8Array): boolean {
  return magic.every((byte, index) => bytes[index] === byte);
}

/** What the first page says; a string that tells why it is none. */
export function decodePrelude(page: Uint8Array): Prelude | string {
  if (!hasMagic(page)) return 'is no snapshot of colo-vmm';
  if (page.length < pageSize) return `was cut: it has only ${page.length} bytes; copy it again, or take another one`;
  const fields = prelude.over(page);
  if (fields.checksum !== preludeChecksum(page))
    return 'is damaged in its first page; copy it again, or take another one';
  if (fields.version > formatVersion) {
    return `was written by a newer version of colo-vmm: it is of version ${fields.version}, and this one knows up to ${formatVersion}`;
  }
  const ramBytes = Number(fields.ramBytes);
  const tailOffset = Number(fields.tailOffset);
  const tailBytes = Number(fields.tailBytes);
  const makesSense =
    fields.version >= 1 &&
    ramBytes > 0 &&
    ramBytes <= mostRamBytes &&
    ramBytes % pageSize === 0 &&
    tailOffset === ramOffset + ramBytes &&
    tailBytes > 0 &&
    tailBytes <= mostTailBytes;
  if (!makesSense) return 'has a first page that makes no sense, though its checksum is right';
  return { ramBytes, tailOffset, tailBytes, tailChecksum: fields.tailChecksum };
}
