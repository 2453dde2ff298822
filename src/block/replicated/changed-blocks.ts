import { regionBytes, regionPlaces } from './region-file.ts';

/** A bit stands for so many bytes of a disk. */
export const changedBlockBytes = 4096;
/** A region's bits are whole words. */
export const regionWords = regionBytes / changedBlockBytes / 32;

/** Bits for all blocks of disks of these sizes, all clear: words of 32, the lowest bit first; each disk begins with a region. */
export function blockBits(sizes: readonly number[]): SharedArrayBuffer {
  return new SharedArrayBuffer(regionPlaces(sizes).count * regionWords * 4);
}

/** Sets the bits of [offset, offset + lengthBytes) of a disk whose first region is `firstRegion`; other threads may do so too. Hot path. */
export function setShared(
  words: Int32Array<SharedArrayBuffer>,
  firstRegion: number,
  offset: number,
  lengthBytes: number,
): void {
  const base = firstRegion * regionWords * 32;
  let block = base + Math.floor(offset / changedBlockBytes);
  const end = base + Math.floor((offset + lengthBytes - 1) / changedBlockBytes) + 1;
  while (block < end) {
    const bit = block & 31;
    const count = Math.min(32 - bit, end - block);
    const mask = count === 32 ? -1 : ((1 << count) - 1) << bit;
    Atomics.or(words, block >>> 5, mask);
    block += count;
  }
}
