import { crc32 } from 'node:zlib';
import { bytes, struct, u32, u64 } from '../../host/layout.ts';
import { pageSize } from '../../memory/address.ts';

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
 * Everything has a checksum (CRC-32): the prelude and the tail as a whole, RAM in chunks of 16 pages, as the file has them.
 */
export const ramOffset = pageSize;

/** Pages with one checksum. */
export const chunkPages = 16;
export const chunkBytes = chunkPages * pageSize;

/** Newest version of the format that this program knows, and the one that it writes. */
export const formatVersion = 1;

const magicText = 'COLOSNAP';

export const prelude = struct('snapshot_prelude', {
  magic: bytes(8),
  version: u32,
  tailChecksum: u32,
  ramBytes: u64,
  tailOffset: u64,
  tailBytes: u64,
  checksum: u32,
});

/** The first page of a snapshot. */
export function encodePrelude(ramBytes: number, tailOffset: number, tail: Uint8Array): Uint8Array {
  const page = new Uint8Array(pageSize);
  const fields = prelude.over(page);
  fields.magic = Buffer.from(magicText, 'latin1');
  fields.version = formatVersion;
  fields.tailChecksum = crc32(tail);
  fields.ramBytes = BigInt(ramBytes);
  fields.tailOffset = BigInt(tailOffset);
  fields.tailBytes = BigInt(tail.length);
  fields.checksum = crc32(page.subarray(0, prelude.offsets.checksum));
  return page;
}

/** Where the parts of a snapshot lie. */
export interface Prelude {
  readonly ramBytes: number;
  readonly tailOffset: number;
  readonly tailBytes: number;
  readonly tailChecksum: number;
}

/** What the first page says; a string that tells why it is none. */
export function decodePrelude(page: Uint8Array): Prelude | string {
  if (page.length < pageSize) return 'is shorter than the first page of a snapshot';
  const fields = prelude.over(page);
  if (Buffer.from(fields.magic).toString('latin1') !== magicText) return 'is no snapshot of colo-vmm';
  if (fields.version > formatVersion) {
    return `was written by a newer version of colo-vmm: it is of version ${fields.version}, and this one knows up to ${formatVersion}`;
  }
  if (fields.checksum !== crc32(page.subarray(0, prelude.offsets.checksum))) return 'is damaged in its first page';
  const [ramBytes, tailOffset, tailBytes] = [fields.ramBytes, fields.tailOffset, fields.tailBytes].map(Number) as [
    number,
    number,
    number,
  ];
  const isWhole = ramBytes > 0 && ramBytes % pageSize === 0 && tailOffset === ramOffset + ramBytes && tailBytes > 0;
  if (fields.version < 1 || !isWhole) return 'has a first page that makes no sense';
  return { ramBytes, tailOffset, tailBytes, tailChecksum: fields.tailChecksum };
}
