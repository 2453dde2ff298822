import type { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import type { Recovery } from '../../../../src/colo/core/fencing/recovery.ts';
import type { Clock } from '../fakes/clock.ts';
import type { FakeDisk } from '../fakes/fake-disk.ts';
import type { Answer, FakeGuest } from '../fakes/fake-guest.ts';
import type { DiskHistory } from '../resync/disk-history.ts';
import type { Resync } from '../resync/resync.ts';
import type { FakeAnnouncement } from './fake-announcement.ts';
import type { Translation } from './translation.ts';

/** What a process has, whatever it is about. */
export interface ProcessLegacy {
  readonly holder: object;
  readonly clock: Clock;
  readonly disk: FakeDisk;
  readonly history: DiskHistory;
}

/** What a process has that takes another role (spec B.7). */
export interface Legacy extends ProcessLegacy {
  /** What has not left. */
  readonly gate: Gate<Answer>;
  readonly guest: FakeGuest;
  readonly guestClockOffset: number;
  readonly announcement: FakeAnnouncement;
  readonly translation: Translation;
  /** Blocks that its guest wrote since it took over, for nobody to be sent. */
  readonly written?: readonly number[];
  /** What it knows of a standby's disk, if it was a primary before. */
  readonly resync?: Resync | undefined;
}

/** What a standby's process goes on with when it stands by again. */
export interface StandingBy extends ProcessLegacy {
  readonly recovery: Recovery;
}
