import type { Gpa } from './address.ts';
import type { DirtyBitmap, TrackingCell } from './dirty-bitmap.ts';

/**
 * A range of guest RAM that was checked once and is then accessed many times: a ring, a table. Access is by `view` at
 * `base + offset` and checked against nothing but the end of RAM, so the owner keeps its offsets below `length`.
 *
 * Whoever writes through `view` calls {@link mark} for what it wrote.
 */
export class MemoryArea {
  readonly address: Gpa;
  readonly length: number;
  readonly view: DataView;
  /** Where the range begins in `view`. */
  readonly base: number;
  readonly #written: DirtyBitmap;
  readonly #tracking: TrackingCell;
  readonly #offsetInRegion: number;

  constructor(
    range: { address: Gpa; length: number; offsetInRegion: number },
    place: { view: DataView; base: number },
    record: { written: DirtyBitmap; tracking: TrackingCell },
  ) {
    this.address = range.address;
    this.length = range.length;
    this.#offsetInRegion = range.offsetInRegion;
    this.view = place.view;
    this.base = place.base;
    this.#written = record.written;
    this.#tracking = record.tracking;
  }

  /** Records that [offset, offset + length) of this range was written. Hot path. */
  mark(offset: number, length: number): void {
    if (this.#tracking[0] === 1) this.#written.markBytes(this.#offsetInRegion + offset, length);
  }
}
