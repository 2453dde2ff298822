import type { BlockGeometry } from '../../block/block-backend.ts';
import { struct, u8, u16, u32, u64 } from '../../host/layout.ts';
import type { VirtioShape } from '../virtio/virtio-device.ts';

/** Units of everything that a driver says about places on the disk (Virtio 1.2, 5.2.2). */
export const sectorBytes = 512;

/** Feature bits (5.2.3). */
export const blockFeature = {
  segMax: 1n << 2n,
  readOnly: 1n << 5n,
  blockSize: 1n << 6n,
  flush: 1n << 9n,
  topology: 1n << 10n,
  configWce: 1n << 11n,
  discard: 1n << 13n,
  writeZeroes: 1n << 14n,
} as const;

/** Device configuration (5.2.4). */
export const virtio_blk_config = struct('virtio_blk_config', {
  capacity: u64,
  size_max: u32,
  seg_max: u32,
  cylinders: u16,
  heads: u8,
  sectors: u8,
  blk_size: u32,
  physical_block_exp: u8,
  alignment_offset: u8,
  min_io_size: u16,
  opt_io_size: u32,
  wce: u8,
  unused: u8,
  num_queues: u16,
  max_discard_sectors: u32,
  max_discard_seg: u32,
  discard_sector_alignment: u32,
  max_write_zeroes_sectors: u32,
  max_write_zeroes_seg: u32,
  write_zeroes_may_unmap: u8,
  unused1: u8,
  unused2: u16,
});

export const blockQueueSize = 256;
/** Buffers of a request besides the header's and the status's; a chain has no more than the queue has entries. */
export const maxSegments = blockQueueSize - 2;
/** Most sectors of one discard or write zeroes: 1 GiB. Zeros may have to be written one by one. */
export const maxRangeSectors = 2 * 1024 * 1024;

/**
 * What a driver sees of a disk before it uses it.
 *
 * @param blockBytes of its sectors, whatever those of the file are
 */
export function blockShape(disk: BlockGeometry, blockBytes: number = sectorBytes): VirtioShape {
  const { segMax, readOnly, blockSize, flush, topology, configWce, discard, writeZeroes } = blockFeature;
  const config = virtio_blk_config.allocate();
  config.capacity = BigInt(Math.floor(disk.sizeBytes / sectorBytes));
  config.seg_max = maxSegments;
  config.blk_size = blockBytes;
  config.physical_block_exp = Math.max(0, Math.floor(Math.log2(disk.physicalBlockBytes / blockBytes)));
  config.min_io_size = Math.max(1, Math.min(0xffff, disk.physicalBlockBytes / blockBytes));
  config.wce = 1;
  config.num_queues = 1;
  if (!disk.readOnly) {
    config.max_discard_sectors = maxRangeSectors;
    config.max_discard_seg = 1;
    config.discard_sector_alignment = Math.floor(Math.max(disk.discardBytes, blockBytes) / sectorBytes);
    config.max_write_zeroes_sectors = maxRangeSectors;
    config.max_write_zeroes_seg = 1;
    config.write_zeroes_may_unmap = 1;
  }
  const { wce } = virtio_blk_config.offsets;
  return {
    deviceId: 2,
    features: segMax | blockSize | flush | topology | configWce | (disk.readOnly ? readOnly : discard | writeZeroes),
    queueSizes: [blockQueueSize],
    config: config.$bytes,
    writableConfig: [wce, wce + 1],
    configured: [{ features: readOnly, key: 'readonly', offered: 'on', missing: 'off' }],
  };
}
