import type { ColoStatus } from '../../vmm/monitor/colo-control.ts';
import type { InheritedChanges } from '../disk/history/primary-changes.ts';
import type { PortPolicy } from '../protocol/port-policy.ts';

/** What a standby that has taken over leaves to the primary that its process is from then on (spec B.7). */
export interface Heritage {
  /** Why it runs the guest, and since when (ms since 1970). */
  readonly why: string;
  readonly since: number;
  /** What it was like for clients; absent: nobody knows. */
  readonly takeover?: NonNullable<ColoStatus['takeover']>;
  /** Where its disks may differ from those of the side that was lost; absent: nobody knows. */
  readonly changes?: InheritedChanges;
  /** Its guest is compared with its next standby's: the pair was made so. */
  readonly compares?: true;
  /** But not these connections. */
  readonly flows?: readonly PortPolicy[];
}

/** What was before a primary, in this process or an earlier one. */
export interface PrimaryPast {
  /** Of the standby that has taken over in this process. */
  readonly heritage?: Heritage | undefined;
  /** What the primary said of itself that this one takes the place of, for it was told another standby. */
  readonly before?: Pick<ColoStatus, 'unprotected' | 'survivor' | 'takeover'> | undefined;
  /** What is known of its disks since an earlier process, or an earlier side of this one. */
  readonly changes?: InheritedChanges | undefined;
}
