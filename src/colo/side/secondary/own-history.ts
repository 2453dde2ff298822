import type { DeviceOrder } from '../../../vmm/io/device-orders.ts';
import { diskViews, historyDisk } from '../../disk/disk-view.ts';
import { HistoryStore, noHistory } from '../../disk/history/history-store.ts';
import { type InheritedChanges, newSharedChanges } from '../../disk/history/primary-changes.ts';
import type { StandbyPast } from '../../disk/standby/standby-parts.ts';

/** What a standby's host knows of its disks, from one pairing to the next, and of what a survivor writes (spec B.7). */
export class OwnHistory {
  readonly #store: HistoryStore;
  readonly #log: (text: string) => void;

  constructor(stateDirectory: string, pair: string, log: (text: string) => void) {
    this.#store = new HistoryStore(stateDirectory, pair);
    this.#log = log;
  }

  /** Of a machine's disks, which nobody has written yet. @param renewed it is written down what they are from now on */
  of(devices: readonly DeviceOrder[], renewed: (changes: InheritedChanges) => void): StandbyPast {
    const store = this.#store;
    const disks = diskViews(devices).map(historyDisk);
    const history = store.read(disks);
    if (typeof history === 'string' && history !== noHistory) {
      this.#log(`nothing is known of what these disks were: ${history}`);
    }
    return {
      history: typeof history === 'string' ? undefined : history,
      renew: async (generation) => {
        const sizes = disks.map(({ sizeBytes }) => sizeBytes);
        const id = await store.newLog(sizes, false);
        await store.write(generation, id, disks);
        store.watch();
        renewed({ shared: newSharedChanges(store.logPath, id, sizes), generation });
      },
    };
  }

  /** What a survivor writes is not kept: all is compared, the next time. Resolves in any case. */
  async forget(): Promise<void> {
    await this.#store.forget().catch((error: Error) => {
      // It is not believed either once the disks are newer than it says.
      this.#log(`what was known of its disks cannot be removed: ${error.message}`);
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
