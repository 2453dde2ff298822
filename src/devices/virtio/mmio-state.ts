import type { VirtioShape } from './virtio-device.ts';

/**
 * The register file of one virtio device over MMIO, shared by the vCPU threads and the io thread.
 *
 *     Int32 cells   lock, device-wide registers              (see `cell`)
 *                   per queue: its registers                 (see `queueCell`)
 *     bytes         device configuration
 *
 * Cells hold 32-bit registers as they are, so a reader of an unsigned one says `>>> 0`.
 */

/** Index of each 32-bit cell. */
export const cell = {
  /** Held for register accesses other than those below that say they are atomic. */
  lock: 0,
  /** Atomic: the io thread adds NEEDS_RESET, a driver all else. */
  status: 1,
  deviceFeaturesSelect: 2,
  driverFeaturesSelect: 3,
  driverFeaturesLow: 4,
  driverFeaturesHigh: 5,
  /** All that a driver accepted of bits from 64 on, where nothing is ever offered. */
  driverFeaturesBeyond: 6,
  queueSelect: 7,
  /** Atomic: the io thread adds bits, a driver takes them away. */
  interruptStatus: 8,
  /** Atomic. Only counts up, also over a reset. */
  configGeneration: 9,
  /** Atomic. What the driver wants of the io thread, see `wish`. */
  wish: 10,
  /** The two cells of a {@link Handshake}, for whoever brings wishes to the io thread. */
  asked: 11,
  answered: 12,
} as const;

const cellCount = 13;

/** Index of each cell of a queue, from {@link MmioState.queue} on. */
export const queueCell = {
  size: 0,
  ready: 1,
  descriptorsLow: 2,
  descriptorsHigh: 3,
  driverLow: 4,
  driverHigh: 5,
  deviceLow: 6,
  deviceHigh: 7,
} as const;

const queueCellCount = 8;

/** What a driver can want of the io thread. */
export const wish = { none: 0, activate: 1, reset: 2 } as const;

/** Device status (Virtio 1.2, 2.1). */
export const status = {
  acknowledge: 0x01,
  driver: 0x02,
  driverOk: 0x04,
  featuresOk: 0x08,
  needsReset: 0x40,
  failed: 0x80,
} as const;

/** Interrupt status (4.2.2). */
export const interrupt = { queue: 1, config: 2 } as const;

/** Features that every device here has (6). */
export const feature = { indirectDescriptors: 1n << 28n, eventIndex: 1n << 29n, version1: 1n << 32n } as const;
const everyDevice = feature.indirectDescriptors | feature.eventIndex | feature.version1;

/** All that a device offers. */
export function offeredFeatures(shape: VirtioShape): bigint {
  return shape.features | everyDevice;
}

/** Views of one device's register file. */
export interface MmioState {
  readonly storage: SharedArrayBuffer;
  readonly cells: Int32Array<SharedArrayBuffer>;
  /** Device configuration, live: the device and its driver both write it. */
  readonly config: Uint8Array<SharedArrayBuffer>;
  /** Index of the cell that says how many entries queue `index` may have. A reset leaves it alone. */
  maxSize(index: number): number;
  /** Index of the first cell of queue `index`, see `queueCell`. */
  queue(index: number): number;
}

/** Fresh registers of a device, or views of some that another thread made. */
export function mmioState(shape: VirtioShape, storage?: SharedArrayBuffer): MmioState {
  const queues = shape.queueSizes.length;
  const count = cellCount + queues + queues * queueCellCount;
  const bytes = storage ?? new SharedArrayBuffer(count * 4 + shape.config.length);
  const cells = new Int32Array(bytes, 0, count);
  const config = new Uint8Array(bytes, count * 4, shape.config.length);
  const state: MmioState = {
    storage: bytes,
    cells,
    config,
    maxSize: (index) => cellCount + index,
    queue: (index) => cellCount + queues + index * queueCellCount,
  };
  if (storage === undefined) makeFresh(state, shape);
  return state;
}

/** Brings registers to where they are when a machine starts. */
export function makeFresh({ cells, config, maxSize }: MmioState, shape: VirtioShape): void {
  cells.fill(0);
  cells.set(shape.queueSizes, maxSize(0));
  config.set(shape.config);
}
