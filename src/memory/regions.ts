import { type Gpa, gpa } from './address.ts';
import { mmioHoleStart, ramAbove4GiB } from './layout.ts';

/** One run of RAM: contiguous for the guest, and contiguous in the mapping that holds all of it. */
export interface RamRegion {
  /** First guest-physical byte. */
  readonly start: Gpa;
  /** Length in bytes, a multiple of the page size. */
  readonly sizeBytes: number;
  /** Where the region begins in the mapping, in bytes. */
  readonly offset: number;
}

/** Lays `totalBytes` of RAM around the 32-bit hole: one region up to 3 GiB, the rest from 4 GiB. */
export function layOutRam(totalBytes: number): RamRegion[] {
  const low = Math.min(totalBytes, mmioHoleStart);
  const regions: RamRegion[] = [{ start: gpa(0), sizeBytes: low, offset: 0 }];
  if (totalBytes > low) {
    regions.push({ start: ramAbove4GiB, sizeBytes: totalBytes - low, offset: low });
  }
  return regions;
}
