import { removePairStamp } from '../../../block/pair-stamp.ts';
import type { SharedChanges } from '../../../block/replicated/shared-changes.ts';
import type { DeviceOrder } from '../../../vmm/io/device-orders.ts';
import { diskViews, historyDisk } from '../disk-view.ts';
import { HistoryStore } from './history-store.ts';
import { type InheritedChanges, newSharedChanges } from './primary-changes.ts';

/**
 * What is known of the disks of a machine that is about to be run anew, as its pair's primary: they are open, and nobody has written them.
 * If something is, what its guest changes is kept from now on; else nobody relies on what was known any more.
 *
 * @param keep has the machine mark what changes; it may throw
 */
export function continueHistory(
  { stateDirectory, pair }: { readonly stateDirectory: string; readonly pair: string },
  devices: readonly DeviceOrder[],
  keep: (changes: SharedChanges) => void,
): InheritedChanges | undefined {
  const store = new HistoryStore(stateDirectory, pair);
  const disks = diskViews(devices).map(historyDisk);
  const history = store.read(disks);
  if (typeof history !== 'string') {
    const { generation, regions, log } = history;
    const shared = newSharedChanges(store.logPath, log, disks);
    try {
      keep(shared);
      return { shared, generation, regions };
    } catch {
      // Then all is compared.
    }
  }
  for (const { path, readOnly } of disks) if (!readOnly) removePairStamp(path);
  return undefined;
}
