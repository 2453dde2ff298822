import { randomBytes } from 'node:crypto';
import { logIdBytes } from '../../../block/replicated/region-file.ts';
import type { DeviceOrder } from '../../../vmm/io/device-orders.ts';
import { diskViews, historyDisk } from '../../disk/disk-view.ts';
import { type HistoryDisk, HistoryStore, noHistory } from '../../disk/history/history-store.ts';
import { type InheritedChanges, newSharedChanges } from '../../disk/history/primary-changes.ts';
import type { StandbyPast } from '../../disk/standby/standby-parts.ts';

/** What a standby's host knows of its disks, from one pairing to the next, and of what a survivor writes (spec B.7). */
export class OwnHistory {
  readonly #store: HistoryStore;
  readonly #log: (text: string) => void;
  #disks: readonly HistoryDisk[] = [];

  constructor(stateDirectory: string, pair: string, log: (text: string) => void) {
    this.#store = new HistoryStore(stateDirectory, pair);
    this.#log = log;
  }

  /** Of a machine's disks, which nobody has written yet. @param renewed it is written down what they are from now on */
  of(devices: readonly DeviceOrder[], renewed: (changes: InheritedChanges) => void): StandbyPast {
    const store = this.#store;
    const disks = diskViews(devices).map(historyDisk);
    this.#disks = disks;
    const history = store.read(disks);
    if (typeof history === 'string' && history !== noHistory) {
      this.#log(`nothing is known of what these disks were: ${history}`);
    }
    return {
      history: typeof history === 'string' ? undefined : history,
      renew: async (generation) => {
        const shared = newSharedChanges(store.logPath, new Uint8Array(randomBytes(logIdBytes)), disks);
        await store.stamp(disks, shared.id);
        await store.newLog(shared.id, shared.sizes, false);
        await store.write(generation, shared.id, disks);
        store.watch();
        renewed({ shared, generation });
      },
    };
  }

  /** What a survivor writes is not kept: all is compared, the next time. Resolves in any case. */
  async forget(): Promise<void> {
    const store = this.#store;
    // Either is enough; and it is not believed either once the disks are newer than it says.
    await Promise.any([store.unstamp(this.#disks), store.forget()]).catch(({ errors }: AggregateError) => {
      this.#log(`what was known of its disks cannot be removed: ${(errors[0] as Error).message}`);
    });
  }

  /** The disks are not watched any more. */
  rest(): void {
    this.#store.rest();
  }

  /** Resolves when nothing is written any more. */
  settled(): Promise<void> {
    return this.#store.settled();
  }
}
