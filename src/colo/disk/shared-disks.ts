import { diskRingStorage } from '../../block/replicated/disk-ring.ts';
import type { SharedDisks } from '../../vmm/platform/shared-protection.ts';

/** Changes on their way between P's io thread and its colo thread. */
const ringBytes = 16 * 1024 * 1024;

/** For one protection: what the io thread and the colo thread share of the disks. */
export function newSharedDisks(diskLogBytes: number): SharedDisks {
  return diskRingStorage(ringBytes, diskLogBytes);
}
