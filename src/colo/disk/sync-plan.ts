import { changedBlockBytes } from '../../block/replicated/changed-blocks.ts';
import { comparedBlockBytes, mostComparedBytes } from '../protocol/messages.ts';
import type { Difference } from './history/difference.ts';

/** A piece of a disk, in blocks of `comparedBlockBytes` of which each may differ somewhere. */
export interface DiskRange {
  readonly disk: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** S is asked for hashes first. Otherwise so little may differ that it is sent as it is. */
  readonly compares: boolean;
}

/** For `status`. */
export interface SyncProgress {
  /** What may differ, and what of it is settled. */
  readonly totalBytes: number;
  readonly comparedBytes: number;
  readonly sentBytes: number;
  readonly secondsLeft?: number;
}

/** What it came to. */
export type SyncOutcome = Omit<SyncProgress, 'secondsLeft'> & { readonly seconds: number };

const mostBlocks = mostComparedBytes / comparedBlockBytes;
/** Where at most so many bits of a block's are set, they are sent unasked: that is less work than both sides' hashes of it. */
const fewBits = 4;

/** Which range of which disk is settled next, and how far that is. Times in ms. */
export class SyncPlan {
  readonly #difference: Difference;
  readonly #totalBytes: number;
  readonly #startedAt: number;
  #disk = 0;
  /** Number of a block on that disk. */
  #block = 0;
  #comparedBytes = 0;
  #sentBytes = 0;

  constructor(difference: Difference, startedAt: number) {
    this.#difference = difference;
    this.#totalBytes = difference.unsettledBytes;
    this.#startedAt = startedAt;
  }

  /** Undefined: all were given out. */
  next(): DiskRange | undefined {
    const { sizes } = this.#difference;
    for (; this.#disk < sizes.length; this.#disk++, this.#block = 0) {
      const first = this.#difference.nextUnsettled(this.#disk, this.#block);
      if (first === undefined) continue;
      const size = sizes[this.#disk] as number;
      const compares = this.#isDense(first);
      let end = first + 1;
      while (end - first < mostBlocks && end * comparedBlockBytes < size && this.#isLike(end, compares)) end++;
      this.#block = end;
      const offset = first * comparedBlockBytes;
      const lengthBytes = Math.min(end * comparedBlockBytes, size) - offset;
      return { disk: this.#disk, offset, lengthBytes, compares };
    }
    return undefined;
  }

  /** That range is settled. */
  settled({ disk, offset, lengthBytes }: DiskRange): void {
    const first = offset / comparedBlockBytes;
    for (let block = first; block * comparedBlockBytes < offset + lengthBytes; block++) {
      this.#comparedBytes += changedBlockBytes * bitsOf(this.#difference.unsettledIn(disk, block));
    }
    this.#difference.settle(disk, offset, lengthBytes);
  }

  /** Since it began. */
  seconds(now: number): number {
    return (now - this.#startedAt) / 1000;
  }

  sent(bytes: number): void {
    this.#sentBytes += bytes;
  }

  progress(now: number): SyncProgress {
    const done = { totalBytes: this.#totalBytes, comparedBytes: this.#comparedBytes, sentBytes: this.#sentBytes };
    const perSecond = (this.#comparedBytes * 1000) / (now - this.#startedAt);
    if (!(perSecond > 0 && Number.isFinite(perSecond))) return done;
    return { ...done, secondsLeft: (this.#totalBytes - this.#comparedBytes) / perSecond };
  }

  #isDense(block: number): boolean {
    return bitsOf(this.#difference.unsettledIn(this.#disk, block)) > fewBits;
  }

  #isLike(block: number, compares: boolean): boolean {
    return this.#difference.unsettledIn(this.#disk, block) !== 0 && this.#isDense(block) === compares;
  }
}

function bitsOf(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count++;
  return count;
}
