import { logIdBytes } from '../../../block/replicated/region-file.ts';

/**
 * Names a moment: two machines' disks that have the same one differ only in what either of them has marked since. Given anew by P for
 * each pairing, so that no copy of a disk of before fits.
 */
export type Generation = string;

export const generationBytes = logIdBytes;

/** What a machine knows of its disks when it comes back as a standby. */
export interface History {
  readonly generation: Generation;
  /** Where its disks may have been written since, a bitmap of regions (region-file.ts). */
  readonly regions: Uint8Array;
}

/** What S is asked to compare: only `regions` beside what P knows itself; or everything, because of `why`. */
export type Suspicion =
  | { readonly kind: 'known'; readonly regions: Uint8Array }
  | { readonly kind: 'all'; readonly why: string };

/**
 * @param generations of P's disks: what P knows to differ counts from all of them
 * @param theirs undefined, or with why there is none
 * @param regionBytes of a bitmap of these disks' regions
 */
export function suspicionOf(
  generations: readonly Generation[],
  theirs: History | undefined,
  regionBytes: number,
): Suspicion {
  if (generations.length === 0) return { kind: 'all', why: 'these disks were never in step with a standby' };
  if (theirs === undefined)
    return { kind: 'all', why: 'nothing certain is known of what the standby has on its disks' };
  if (!generations.includes(theirs.generation)) {
    return { kind: 'all', why: 'the standby was in step with other disks than these, or before others were' };
  }
  if (theirs.regions.length !== regionBytes) return { kind: 'all', why: 'the standby has other disks' };
  return { kind: 'known', regions: theirs.regions };
}

/** Regions that are in either bitmap; as long as the first. */
export function unitedRegions(one: Uint8Array, other: Uint8Array): Uint8Array {
  return one.map((byte, at) => byte | (other[at] ?? 0));
}

/** As it travels: the generation, then the bitmap; nothing: there is none. */
export function encodeHistory(history: History | undefined): Uint8Array {
  if (history === undefined) return new Uint8Array(0);
  return Buffer.concat([Buffer.from(history.generation, 'hex'), history.regions]);
}

export function decodeHistory(bytes: Uint8Array): History | undefined {
  if (bytes.length < generationBytes) return undefined;
  return {
    generation: Buffer.from(bytes.subarray(0, generationBytes)).toString('hex'),
    regions: new Uint8Array(bytes.subarray(generationBytes)),
  };
}
