import { changedBlockBytes } from '../../../../src/block/replicated/changed-blocks.ts';
import { regionBitmapBytes, regionBytes, regionPlaces } from '../../../../src/block/replicated/region-file.ts';
import type { Generation, History } from '../../../../src/colo/disk/history/history.ts';

/** When a machine may forget where its disk differs from the other one's: as src/colo/disk/history has it, or broken by a mutant. */
export interface ResyncRules {
  /** A write is marked before it is made. */
  readonly marksWrites: boolean;
  /** Marks go once what was written is durable on both sides. */
  readonly mayForget: (durableHere: boolean, durableThere: boolean) => boolean;
  /** What the other machine marked is compared as well. */
  readonly heedsTheirs: boolean;
  /** A copy that is cut off goes on where it was. */
  readonly goesOn: boolean;
  /** A copy that is cut off sends nothing more, and settles nothing. */
  readonly endsCopies: boolean;
  /** What a standby was sent and had not made durable when it was lost may differ. */
  readonly keepsUnconfirmed: boolean;
}

export const resyncRules: ResyncRules = {
  marksWrites: true,
  mayForget: (here, there) => here && there,
  heedsTheirs: true,
  goesOn: true,
  endsCopies: true,
  keepsUnconfirmed: true,
};

/** Blocks of a disk in a life of many pairs. The guest writes the first few (fake-guest.ts); a copy brings all. */
export const diskBlocks = 16;
const regions = diskBlocks / 2;
export const diskSizes = [regions * regionBytes];
const bitmapBytes = regionBitmapBytes(regionPlaces(diskSizes).count);

/**
 * Where a block is on the product's disk, in bytes: offset, length. Two are in each region, far from each other, one of which the guest
 * never writes: what is marked by regions is more than what is known by blocks.
 */
export function placeOf(block: number): [offset: number, lengthBytes: number] {
  return [regionOf(block) * regionBytes + (block < regions ? 0 : regionBytes / 2), changedBlockBytes];
}

function regionOf(block: number): number {
  return block % regions;
}

/** It is in a region of that bitmap. */
export function isInRegions(bitmap: Uint8Array, block: number): boolean {
  const region = regionOf(block);
  return (((bitmap[region >> 3] as number) >> (region & 7)) & 1) !== 0;
}

/** What a machine keeps beside its disk, durable at once: of which generation it is, and which blocks may have been written since. */
export class DiskHistory {
  generation: Generation | undefined;
  /** Where it may differ besides, written down with the generation. */
  suspect: Uint8Array = new Uint8Array(bitmapBytes);
  readonly marks = new Set<number>();

  /** Of a machine that comes back. */
  get asStandby(): History | undefined {
    if (this.generation === undefined) return undefined;
    const regions = this.suspect.slice();
    for (const block of this.marks) {
      const region = regionOf(block);
      regions[region >> 3] = (regions[region >> 3] as number) | (1 << (region & 7));
    }
    return { generation: this.generation, regions };
  }

  /** It is another standby's, or the same one's from now on. */
  renew(generation: Generation, suspect: Uint8Array): void {
    this.generation = generation;
    this.suspect = suspect.slice();
  }
}
