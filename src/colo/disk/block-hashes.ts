import { createHash } from 'node:crypto';
import { comparedBlockBytes, hashBytes } from '../protocol/messages.ts';

const zeros = Buffer.alloc(comparedBlockBytes);

/** Blocks of a range of so many bytes. */
export function blockCount(lengthBytes: number): number {
  return Math.ceil(lengthBytes / comparedBlockBytes);
}

/** Block `index` of a range. */
export function blockOf(range: Uint8Array, index: number): Uint8Array {
  return range.subarray(index * comparedBlockBytes, (index + 1) * comparedBlockBytes);
}

/** All of a block is zero: far cheaper than its hash. */
export function isZero(block: Uint8Array): boolean {
  return zeros.compare(block, 0, block.length, 0, block.length) === 0;
}

/** What `disk-hashes` says of a range. */
export function hashesOf(range: Uint8Array): Uint8Array {
  const hashes = new Uint8Array(blockCount(range.length) * hashBytes);
  for (let index = 0; index * hashBytes < hashes.length; index++) {
    const block = blockOf(range, index);
    if (!isZero(block)) hashes.set(createHash('sha256').update(block).digest(), index * hashBytes);
  }
  return hashes;
}

/** The block is that of a range with these hashes, as far as they tell. */
export function isBlock(block: Uint8Array, hashes: Uint8Array, index: number): boolean {
  return Buffer.compare(hashesOf(block), hashes.subarray(index * hashBytes, (index + 1) * hashBytes)) === 0;
}
