import { regionBytes, regionPlaces, sectorOfRegion } from './region-file.ts';

/** Regions that stay marked although nothing of them may differ, if they were in use lately. */
export const mostKept = 256;

const cold = 0;
/** A change of it waits for its mark. */
const wanted = 1;
/** The mark is on its way to the disk. */
const marking = 2;
const hot = 3;

const used = 1;
/** Changed since the disk was flushed last, as far as is known. */
const unflushed = 2;
/** Its mark is being taken off, unless it is changed meanwhile. */
const leaving = 4;

/**
 * Which regions of a machine's disks its guest may be writing to: marked in a file before a change reaches the disk (an activity log).
 * The mark is taken off, later, once everything that was written there is durable on both sides' disks. So whatever may differ from
 * the other side's disk lies in a region that is marked, whenever this machine dies.
 *
 * Decides what is to be written; without I/O.
 */
export class HotRegions {
  /** What the file is to say: see region-file.ts. */
  readonly bitmap: Uint8Array;
  /** Sectors of the file that do not say so yet. */
  readonly stale = new Set<number>();
  readonly #sizes: readonly number[];
  readonly #first: readonly number[];
  readonly #state: Uint8Array;
  readonly #flags: Uint8Array;
  /** Changes that were asked for and are not done, by region. */
  readonly #pending: Uint32Array;
  /** The epoch in which a change of it was done last. */
  readonly #epochs: Float64Array;
  #hot = 0;
  #wanted: number[] = [];
  #marking: number[] = [];
  #leaving: number[] = [];

  /**
   * @param sizes of the disks, in bytes
   * @param bitmap what the file says now
   */
  constructor(sizes: readonly number[], bitmap: Uint8Array) {
    const { first, count } = regionPlaces(sizes);
    this.#sizes = sizes;
    this.#first = first;
    this.bitmap = bitmap.slice();
    this.#state = new Uint8Array(count);
    this.#flags = new Uint8Array(count);
    this.#pending = new Uint32Array(count);
    this.#epochs = new Float64Array(count);
    for (let region = 0; region < count; region++) {
      if (((bitmap[region >> 3] as number) & (1 << (region & 7))) === 0) continue;
      this.#state[region] = hot;
      this.#flags[region] = unflushed;
      this.#hot++;
    }
  }

  /** Regions that are marked. */
  get count(): number {
    return this.#hot;
  }

  /** Changes wait for marks. */
  get waits(): boolean {
    return this.#wanted.length > 0 || this.#marking.length > 0;
  }

  /** A change of these bytes is asked for: true if it may be made. Else it waits until {@link isMarked}. Hot path. */
  take(disk: number, offset: number, lengthBytes: number): boolean {
    const last = this.#last(disk, offset, lengthBytes);
    let isMarked = true;
    for (let region = this.#region(disk, offset); region <= last; region++) {
      (this.#pending[region] as number)++;
      this.#flags[region] = ((this.#flags[region] as number) | used) & ~leaving;
      if (this.#state[region] === hot) continue;
      isMarked = false;
      if (this.#state[region] !== cold) continue;
      this.#state[region] = wanted;
      this.#wanted.push(region);
    }
    return isMarked;
  }

  /** A change that was taken may be made. */
  isMarked(disk: number, offset: number, lengthBytes: number): boolean {
    const last = this.#last(disk, offset, lengthBytes);
    for (let region = this.#region(disk, offset); region <= last; region++) {
      if (this.#state[region] !== hot) return false;
    }
    return true;
  }

  /** A change that was taken is done, or failed, in this epoch. Hot path. */
  done(disk: number, offset: number, lengthBytes: number, epoch: number): void {
    const last = this.#last(disk, offset, lengthBytes);
    for (let region = this.#region(disk, offset); region <= last; region++) {
      (this.#pending[region] as number)--;
      this.#flags[region] = (this.#flags[region] as number) | unflushed;
      this.#epochs[region] = epoch;
    }
  }

  /** True: the stale sectors are to be written and made durable; then {@link marked}. One at a time. */
  beginMarking(): boolean {
    if (this.#wanted.length === 0 || this.#marking.length > 0) return false;
    this.#marking = this.#wanted;
    this.#wanted = [];
    for (const region of this.#marking) {
      this.#state[region] = marking;
      this.#setBit(region, true);
    }
    return true;
  }

  marked(): void {
    for (const region of this.#marking) this.#state[region] = hot;
    this.#hot += this.#marking.length;
    this.#marking = [];
  }

  /** The file did not take it: these regions are not marked. They are in the bitmap all the same, which does no harm. */
  notMarked(): void {
    for (const region of this.#marking) this.#state[region] = cold;
    this.#marking = [];
  }

  /** Epochs are counted anew, for another standby: what is marked may differ from its disks. */
  beginEpochs(): void {
    this.#epochs.fill(0);
    for (const region of this.#leaving) this.#flags[region] = (this.#flags[region] as number) & ~leaving;
    this.#leaving = [];
  }

  /**
   * Chooses marks to take off: of regions that were not in use since the last time, of which all is durable on the other side. Disks
   * that are to be flushed now, for {@link endSweep}.
   *
   * @param through the other side has all of the epochs up to this one on its disks, durable
   * @returns undefined: there is none to take off
   */
  beginSweep(through: number): readonly number[] | undefined {
    if (this.#hot === 0 || this.#leaving.length > 0) return undefined;
    const isCrowded = this.#hot > mostKept;
    const disks = new Set<number>();
    for (let disk = 0; disk < this.#sizes.length; disk++) {
      const last = this.#last(disk, 0, this.#sizes[disk] as number);
      for (let region = this.#first[disk] as number; region <= last; region++) {
        if (this.#state[region] !== hot) continue;
        const flags = this.#flags[region] as number;
        this.#flags[region] = flags & ~used;
        if ((this.#pending[region] as number) > 0 || (this.#epochs[region] as number) > through) continue;
        if ((flags & used) !== 0 && !isCrowded) continue;
        this.#flags[region] = (this.#flags[region] as number) | leaving;
        this.#leaving.push(region);
        if ((flags & unflushed) !== 0) disks.add(disk);
      }
    }
    return this.#leaving.length === 0 ? undefined : [...disks];
  }

  /** All those disks are flushed, or not. Stale sectors may be written whenever it suits. */
  endSweep(flushed: boolean): void {
    for (const region of this.#leaving) {
      if (((this.#flags[region] as number) & leaving) === 0) continue;
      this.#flags[region] = (this.#flags[region] as number) & ~leaving;
      if (!flushed) continue;
      this.#flags[region] = 0;
      this.#state[region] = cold;
      this.#setBit(region, false);
      this.#hot--;
    }
    this.#leaving = [];
  }

  #region(disk: number, offset: number): number {
    return (this.#first[disk] as number) + Math.floor(offset / regionBytes);
  }

  #last(disk: number, offset: number, lengthBytes: number): number {
    return (this.#first[disk] as number) + Math.floor((offset + lengthBytes - 1) / regionBytes);
  }

  #setBit(region: number, value: boolean): void {
    const byte = this.bitmap[region >> 3] as number;
    const bit = 1 << (region & 7);
    this.bitmap[region >> 3] = value ? byte | bit : byte & ~bit;
    this.stale.add(sectorOfRegion(region));
  }
}
