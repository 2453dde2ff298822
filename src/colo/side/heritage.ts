import type { ColoEvent } from '../../vmm/monitor/colo-control.ts';
import type { InheritedChanges } from '../disk/history/primary-changes.ts';
import type { PortPolicy } from '../protocol/port-policy.ts';

/** What a standby that has taken over leaves to the primary that its process is from then on (spec B.7). */
export interface Heritage {
  /** Why it runs the guest, and since when (ms since 1970). */
  readonly why: string;
  readonly since: number;
  /** What has happened so far. */
  readonly events: readonly ColoEvent[];
  /** Where its disks may differ from those of the side that was lost; absent: nobody knows. */
  readonly changes?: InheritedChanges;
  /** Its guest is compared with its next standby's: the pair was made so. */
  readonly compares?: true;
  /** But not these connections. */
  readonly flows?: readonly PortPolicy[];
}
