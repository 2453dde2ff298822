import { createHash } from 'node:crypto';

/** What is marked before it is written: a piece of a disk of this size. */
export const regionBytes = 4 * 1024 * 1024;
/** Of the identity of a log. */
export const logIdBytes = 16;

/**
 * A file of marked regions, of all disks of a machine one after the other (each disk begins with a region of its own). It consists of
 * sectors, each of which is written at once and says by itself whether it is whole:
 *
 *      0  u64  the first 8 bytes of SHA-256 over the log's id, the sector's number and its bits
 *      8  u64  zero
 *     16  bits, the lowest of a byte first
 */
export const regionSectorBytes = 512;
const headBytes = 16;
const checksumBytes = 8;
const bitBytes = regionSectorBytes - headBytes;
const sectorRegions = bitBytes * 8;

/** The number of each disk's first region, and of regions in all. */
export function regionPlaces(sizes: readonly number[]): { readonly first: readonly number[]; readonly count: number } {
  let count = 0;
  const first = sizes.map((size) => {
    const at = count;
    count += Math.ceil(size / regionBytes);
    return at;
  });
  return { first, count };
}

/** Bytes of a bitmap of so many regions, as all functions here take and give it. */
export function regionBitmapBytes(regions: number): number {
  return Math.ceil(regions / 8);
}

export function regionFileBytes(regions: number): number {
  return Math.ceil(regions / sectorRegions) * regionSectorBytes;
}

/** The sector in which a region's bit is. */
export function sectorOfRegion(region: number): number {
  return Math.floor(region / sectorRegions);
}

/** Writes that sector of the file to the front of `target`. */
export function encodeSector(target: Uint8Array, id: Uint8Array, sector: number, bitmap: Uint8Array): void {
  const bits = bitmap.subarray(sector * bitBytes, (sector + 1) * bitBytes);
  target.fill(0, 0, regionSectorBytes);
  target.set(bits, headBytes);
  target.set(checksum(id, sector, target.subarray(headBytes, regionSectorBytes)));
}

export function encodeRegionFile(id: Uint8Array, bitmap: Uint8Array, regions: number): Uint8Array {
  const file = new Uint8Array(regionFileBytes(regions));
  for (let sector = 0; sector * regionSectorBytes < file.length; sector++) {
    encodeSector(file.subarray(sector * regionSectorBytes), id, sector, bitmap);
  }
  return file;
}

/** The bitmap; undefined if the file is not whole, or another log's. */
export function decodeRegionFile(file: Uint8Array, id: Uint8Array, regions: number): Uint8Array | undefined {
  if (file.length !== regionFileBytes(regions)) return undefined;
  const bitmap = new Uint8Array(regionBitmapBytes(regions));
  for (let sector = 0; sector * regionSectorBytes < file.length; sector++) {
    const bytes = file.subarray(sector * regionSectorBytes, (sector + 1) * regionSectorBytes);
    const bits = bytes.subarray(headBytes);
    if (Buffer.compare(bytes.subarray(0, checksumBytes), checksum(id, sector, bits)) !== 0) return undefined;
    const at = sector * bitBytes;
    bitmap.set(bits.subarray(0, Math.min(bitBytes, bitmap.length - at)), at);
  }
  return bitmap;
}

function checksum(id: Uint8Array, sector: number, bits: Uint8Array): Uint8Array {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(sector);
  return createHash('sha256').update(id).update(number).update(bits).digest().subarray(0, checksumBytes);
}
