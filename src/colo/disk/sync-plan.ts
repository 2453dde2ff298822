import { mostComparedBytes } from '../protocol/messages.ts';

/** A piece of a disk. */
export interface DiskRange {
  readonly disk: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** For `status`. */
export interface SyncProgress {
  readonly totalBytes: number;
  readonly comparedBytes: number;
  readonly sentBytes: number;
  readonly secondsLeft?: number;
}

/** Which range of which disk is compared next, and how far that is. Times in ms. */
export class SyncPlan {
  readonly #sizes: readonly number[];
  readonly #totalBytes: number;
  readonly #startedAt: number;
  #disk = 0;
  #offset = 0;
  #comparedBytes = 0;
  #sentBytes = 0;

  /** @param sizes of the disks, in bytes */
  constructor(sizes: readonly number[], startedAt: number) {
    this.#sizes = sizes;
    this.#totalBytes = sizes.reduce((sum, size) => sum + size, 0);
    this.#startedAt = startedAt;
  }

  /** Undefined: all were given out. */
  next(): DiskRange | undefined {
    const size = this.#sizes[this.#disk];
    if (size === undefined) return undefined;
    const range = {
      disk: this.#disk,
      offset: this.#offset,
      lengthBytes: Math.min(mostComparedBytes, size - this.#offset),
    };
    this.#offset += range.lengthBytes;
    if (this.#offset >= size) {
      this.#disk++;
      this.#offset = 0;
    }
    return range;
  }

  compared({ lengthBytes }: DiskRange): void {
    this.#comparedBytes += lengthBytes;
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
}
