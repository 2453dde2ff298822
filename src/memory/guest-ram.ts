import type { Closable } from '../host/ownership.ts';
import type { SlottedRam } from './dirty-collector.ts';
import type { RamRegion } from './regions.ts';
import type { StagingArea } from './staging-area.ts';

/** What another thread of this process needs to see the same RAM. */
export interface SharedRam {
  readonly address: number;
  readonly bytes: SharedArrayBuffer;
  /** Where RAM begins in {@link bytes}. */
  readonly start: number;
  readonly regions: readonly RamRegion[];
  readonly written: readonly SharedArrayBuffer[];
  readonly tracking: SharedArrayBuffer;
}

/** RAM that a machine can be made with, whatever is behind it. */
export interface GuestRam extends Closable, SlottedRam {
  /** For other threads of this process. */
  readonly shared: SharedRam;
  /** Has the pages that are staged be what the guest finds. It is paused. */
  load(staged: StagingArea): void;
  /** All of it is zeros, as when it was made, whatever it was made of; every page counts as written. Nothing is at it. */
  clear(): void;
  /**
   * As {@link clear}, but for bytes that lie elsewhere: those of before stay where they are, with all their contents, for
   * system calls that are still at them. Whoever knows the addresses must be told: {@link shared}, {@link slots}. What is
   * returned gives the old ones back.
   */
  move(): Closable;
}
