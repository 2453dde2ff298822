import { VmStateError } from '../vm-state-error.ts';
import { maxRangeSectors, maxSegments, sectorBytes, virtio_blk_config } from './block-shape.ts';

/** What stands behind a disk here, and what its user insists on. */
export interface DiskHere {
  readonly sizeBytes: number;
  /** Bytes of a sector, if they are configured. */
  readonly sector: number | undefined;
}

/**
 * Whether a disk here can be what a driver was told of another one: that stays as it is while the driver runs. Sizes of
 * blocks and of discards are hints that any disk can serve, and so are sectors of any size: files of larger blocks are read,
 * changed and written.
 *
 * @param told the configuration as it was saved
 * @throws VmStateError in the words of who configures disks
 */
export function checkServes(told: Uint8Array, here: DiskHere): void {
  const config = virtio_blk_config.over(told);
  const toldBytes = capacityBytes(told);
  if (toldBytes > here.sizeBytes) {
    const rest = `the guest was told of ${toldBytes}: give the file that it had, or one that is as large`;
    throw new VmStateError('the file', `has ${here.sizeBytes} bytes, and ${rest}`);
  }
  const { blk_size: sector } = config;
  if (here.sector !== undefined && sector !== here.sector) {
    const rest = `the guest was told of sectors of ${sector} bytes: leave the key out, or start the guest anew`;
    throw new VmStateError(`sector=${here.sector}`, `cannot be: ${rest}`);
  }
  const known =
    (sector & (sector - 1)) === 0 &&
    sector >= sectorBytes &&
    sector <= mostSectorBytes &&
    config.seg_max <= maxSegments &&
    config.num_queues === 1 &&
    config.max_discard_sectors <= maxRangeSectors &&
    config.max_discard_seg <= 1 &&
    config.max_write_zeroes_sectors <= maxRangeSectors &&
    config.max_write_zeroes_seg <= 1;
  if (!known) throw new VmStateError('registers.config', 'has limits that no disk of this program ever had');
}

/** Earlier versions told of whatever direct I/O wanted. */
const mostSectorBytes = 65536;

/** Bytes of the disk as the configuration tells them to the driver. */
export function capacityBytes(config: Uint8Array): number {
  return Number(virtio_blk_config.over(config).capacity) * sectorBytes;
}
