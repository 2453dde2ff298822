import type { DoorbellPipe } from '../../host/threads/doorbell.ts';
import type { BootDescriptors } from '../../vmm/machine/machine-shape.ts';
import type { PrimaryConfig, SecondaryConfig } from '../command/pair-config.ts';
import type { HistoryDisk } from '../disk/history/history-store.ts';
import type { MachineShape } from '../protocol/machine-shape.ts';
import type { Past } from '../side/event-log.ts';
import type { PrimaryPast } from '../side/heritage.ts';

/** What the colo thread is born with. */
export type ColoBirth = (
  | ({
      readonly role: 'primary';
      readonly config: PrimaryConfig;
      /** The machine's. */
      readonly disks: readonly HistoryDisk[];
      /** What its guest begins anew from; open as long as the machine is. */
      readonly boot?: BootDescriptors | undefined;
    } & PrimaryPast)
  | { readonly role: 'secondary'; readonly config: SecondaryConfig }
) & {
  readonly thread: 'colo';
  /** What had happened before in this process. */
  readonly past?: Past | undefined;
  /** What P's machine is, or what S's could be. */
  readonly shape: MachineShape;
  /** Who this process is to an arbiter: an id that no other process ever had. */
  readonly holder: string;
  /** It is rung at, by threads that know nothing of its end. */
  readonly bell: DoorbellPipe;
  /** Of the thread that owns the machine: see SignsOfLife. */
  readonly turns: SharedArrayBuffer;
};
