import { type Gpa, gpa } from './address.ts';
import { mmioHoleStart, ramAbove4GiB } from './layout.ts';

/** One run of RAM: contiguous for the guest, and contiguous in the memfd that holds all of it. */
export interface RamRegion {
  /** First guest-physical byte. */
  readonly start: Gpa;
  /** Length in bytes, a multiple of the page size. */
  readonly sizeBytes: number;
  /** Where the region begins in the memfd, in bytes. */
  readonly fileOffset: number;
}

/** Lays `totalBytes` of RAM around the 32-bit hole: one region up to 3 GiB, the rest from 4 GiB. */
export function layOutRam(totalBytes: number): RamRegion[] {
  const low = Math.min(totalBytes, mmioHoleStart);
  const regions: RamRegion[] = [{ start: gpa(0), sizeBytes: low, fileOffset: 0 }];
  if (totalBytes > low) {
    regions.push({ start: ramAbove4GiB, sizeBytes: totalBytes - low, fileOffset: low });
  }
  return regions;
}
