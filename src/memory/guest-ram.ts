import type { Closable } from '../host/ownership.ts';
import type { SlottedRam } from './dirty-collector.ts';
import type { SharedRam } from './ram.ts';
import type { StagingArea } from './staging-area.ts';

/** RAM that a machine can be made with, whatever is behind it. */
export interface GuestRam extends Closable, SlottedRam {
  /** For other threads of this process. */
  readonly shared: SharedRam;
  /** Has the pages that are staged be what the guest finds. It is paused. */
  load(staged: StagingArea): void;
}
