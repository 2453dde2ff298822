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
}
