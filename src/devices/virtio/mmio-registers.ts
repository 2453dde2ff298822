import { Mutex } from '../../host/threads/mutex.ts';
import type { IoDevice } from '../io-device.ts';
import { cell, feature, type MmioState, offeredFeatures, queueCell, status, wish } from './mmio-state.ts';
import type { VirtioShape } from './virtio-device.ts';

/** How registers reach the io thread. Both calls come on the vCPU thread that wrote a register. */
export interface TransportPort {
  /** Has the io thread carry out the wish in the registers, and returns when that is done. */
  synchronize(): void;
  /** The driver kicked queue `index` and no ioeventfd took it. */
  notify(index: number): void;
}

/** Where device configuration begins; registers lie below. */
export const configOffset = 0x100;

const magic = 0x7472_6976;
const version = 2;
const vendor = 0;
/** No such shared memory region: its length and base are all ones. */
const nothingShared = 0xffff_ffff;

/**
 * Legal moves of a driver (Virtio 1.2, 3.1.1). It may give up (FAILED) at any time, after which there is no move, and
 * start again by writing 0.
 */
const { acknowledge, driver, driverOk, featuresOk, failed } = status;
const legalMoves: ReadonlyMap<number, number> = new Map([
  [0, acknowledge],
  [acknowledge, acknowledge | driver],
  [acknowledge | driver, acknowledge | driver | featuresOk],
  [acknowledge | driver | featuresOk, acknowledge | driver | featuresOk | driverOk],
]);

/** What the driver may do at a time, by the status. */
const negotiating = (bits: number): boolean => (bits & (driver | featuresOk)) === driver;
const settingQueuesUp = (bits: number): boolean => (bits & (featuresOk | driverOk)) === featuresOk;

/** A register. Without `read` it gives 0; without `write`, writes are ignored, as they are while it is not `writable`. */
export interface MmioRegister {
  readonly offset: number;
  readonly name: string;
  /** Both ways without the lock: one atomic access. */
  readonly lockFree?: true;
  readonly read?: (registers: RegisterFile) => number;
  readonly write?: (registers: RegisterFile, value: number) => void;
  /** Whether a write is taken at a status; always, if not given. */
  readonly writable?: (status: number) => boolean;
}

/** Registers below the configuration (4.2.2). */
export const mmioRegisters: readonly MmioRegister[] = [
  { offset: 0x00, name: 'MagicValue', lockFree: true, read: () => magic },
  { offset: 0x04, name: 'Version', lockFree: true, read: () => version },
  { offset: 0x08, name: 'DeviceID', lockFree: true, read: (file) => file.shape.deviceId },
  { offset: 0x0c, name: 'VendorID', lockFree: true, read: () => vendor },
  { offset: 0x10, name: 'DeviceFeatures', read: (file) => file.deviceFeatures() },
  { offset: 0x14, name: 'DeviceFeaturesSel', write: (file, value) => file.set(cell.deviceFeaturesSelect, value) },
  {
    offset: 0x20,
    name: 'DriverFeatures',
    write: (file, value) => file.setDriverFeatures(value),
    writable: negotiating,
  },
  { offset: 0x24, name: 'DriverFeaturesSel', write: (file, value) => file.set(cell.driverFeaturesSelect, value) },
  { offset: 0x30, name: 'QueueSel', write: (file, value) => file.set(cell.queueSelect, value) },
  { offset: 0x34, name: 'QueueNumMax', read: (file) => file.queueMaxSize() },
  queueRegister(0x38, 'QueueNum', queueCell.size),
  {
    offset: 0x44,
    name: 'QueueReady',
    read: (file) => file.queueReady(),
    write: (file, value) => file.setQueueReady(value),
    writable: settingQueuesUp,
  },
  { offset: 0x50, name: 'QueueNotify', lockFree: true, write: (file, value) => file.notify(value) },
  { offset: 0x60, name: 'InterruptStatus', lockFree: true, read: (file) => file.load(cell.interruptStatus) },
  { offset: 0x64, name: 'InterruptACK', lockFree: true, write: (file, value) => file.acknowledgeInterrupt(value) },
  {
    offset: 0x70,
    name: 'Status',
    read: (file) => file.load(cell.status),
    write: (file, value) => file.setStatus(value),
  },
  queueRegister(0x80, 'QueueDescLow', queueCell.descriptorsLow),
  queueRegister(0x84, 'QueueDescHigh', queueCell.descriptorsHigh),
  queueRegister(0x90, 'QueueDriverLow', queueCell.driverLow),
  queueRegister(0x94, 'QueueDriverHigh', queueCell.driverHigh),
  queueRegister(0xa0, 'QueueDeviceLow', queueCell.deviceLow),
  queueRegister(0xa4, 'QueueDeviceHigh', queueCell.deviceHigh),
  { offset: 0xac, name: 'SHMSel' },
  { offset: 0xb0, name: 'SHMLenLow', lockFree: true, read: () => nothingShared },
  { offset: 0xb4, name: 'SHMLenHigh', lockFree: true, read: () => nothingShared },
  { offset: 0xb8, name: 'SHMBaseLow', lockFree: true, read: () => nothingShared },
  { offset: 0xbc, name: 'SHMBaseHigh', lockFree: true, read: () => nothingShared },
  { offset: 0xc0, name: 'QueueReset' }, // RING_RESET is not offered
  { offset: 0xfc, name: 'ConfigGeneration', lockFree: true, read: (file) => file.load(cell.configGeneration) },
];

/** A register of the selected queue, to be set before the queue is ready. */
function queueRegister(offset: number, name: string, index: number): MmioRegister {
  return { offset, name, write: (file, value) => file.setQueue(index, value), writable: settingQueuesUp };
}

/** The register at each offset / 4. */
const byWord: readonly (MmioRegister | undefined)[] = Array.from({ length: configOffset / 4 }, (_, word) =>
  mmioRegisters.find((register) => register.offset === word * 4),
);

/** What registers do to the state. */
class RegisterFile {
  readonly shape: VirtioShape;
  readonly #state: MmioState;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #port: TransportPort;
  readonly #offeredLow: number;
  readonly #offeredHigh: number;

  constructor(state: MmioState, shape: VirtioShape, port: TransportPort) {
    this.shape = shape;
    this.#state = state;
    this.#cells = state.cells;
    this.#port = port;
    const offered = offeredFeatures(shape);
    this.#offeredLow = Number(offered & 0xffff_ffffn);
    this.#offeredHigh = Number(offered >> 32n);
  }

  get(index: number): number {
    return (this.#cells[index] as number) >>> 0;
  }

  set(index: number, value: number): void {
    this.#cells[index] = value;
  }

  load(index: number): number {
    return Atomics.load(this.#cells, index) >>> 0;
  }

  deviceFeatures(): number {
    const select = this.get(cell.deviceFeaturesSelect);
    return select === 0 ? this.#offeredLow : select === 1 ? this.#offeredHigh : 0;
  }

  setDriverFeatures(value: number): void {
    const select = this.get(cell.driverFeaturesSelect);
    if (select === 0) this.set(cell.driverFeaturesLow, value);
    else if (select === 1) this.set(cell.driverFeaturesHigh, value);
    else this.set(cell.driverFeaturesBeyond, this.get(cell.driverFeaturesBeyond) | value);
  }

  queueMaxSize(): number {
    const index = this.get(cell.queueSelect);
    return index < this.shape.queueSizes.length ? this.get(this.#state.maxSize(index)) : 0;
  }

  queueReady(): number {
    const at = this.#selectedQueue();
    return at < 0 ? 0 : this.get(at + queueCell.ready);
  }

  setQueueReady(value: number): void {
    const at = this.#selectedQueue();
    if (at >= 0) this.set(at + queueCell.ready, value & 1);
  }

  setQueue(index: number, value: number): void {
    const at = this.#selectedQueue();
    if (at >= 0 && this.get(at + queueCell.ready) === 0) this.set(at + index, value);
  }

  notify(index: number): void {
    if (index < this.shape.queueSizes.length) this.#port.notify(index);
  }

  acknowledgeInterrupt(bits: number): void {
    Atomics.and(this.#cells, cell.interruptStatus, ~bits);
  }

  /** The lock is held all the while that the io thread works: nobody else's write comes between. */
  setStatus(value: number): void {
    if (value === 0) {
      this.#ask(wish.reset);
      return;
    }
    const now = this.load(cell.status) & ~status.needsReset;
    const wanted = value & ~status.needsReset; // the device's own
    if (wanted === (now | failed)) {
      Atomics.or(this.#cells, cell.status, failed);
      return;
    }
    if (legalMoves.get(now) !== wanted) return;
    if (wanted === (now | featuresOk) && !this.#acceptable()) return;
    Atomics.or(this.#cells, cell.status, wanted);
    if (wanted === (now | driverOk)) this.#ask(wish.activate);
  }

  #ask(what: number): void {
    Atomics.store(this.#cells, cell.wish, what);
    this.#port.synchronize();
  }

  /** Whether the driver's choice of features is one (2.2, 6.1). */
  #acceptable(): boolean {
    const low = this.get(cell.driverFeaturesLow);
    const high = this.get(cell.driverFeaturesHigh);
    const excess = (low & ~this.#offeredLow) | (high & ~this.#offeredHigh) | this.get(cell.driverFeaturesBeyond);
    return excess === 0 && (high & version1High) !== 0;
  }

  /** First cell of the selected queue; -1 if there is none such. */
  #selectedQueue(): number {
    const index = this.get(cell.queueSelect);
    return index < this.shape.queueSizes.length ? this.#state.queue(index) : -1;
  }
}

const version1High = Number(feature.version1 >> 32n);

/**
 * The registers of a virtio device over MMIO (Virtio 1.2, 4.2). Any number of threads hold one of these over the same
 * {@link MmioState}: each vCPU serves its own accesses.
 *
 * Only setting DRIVER_OK and resetting need the io thread, where the device lives; the vCPU waits for it.
 */
export class MmioRegisters implements IoDevice {
  readonly #file: RegisterFile;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #lock: Mutex;
  readonly #config: Uint8Array<SharedArrayBuffer>;
  readonly #writableStart: number;
  readonly #writableEnd: number;

  constructor(state: MmioState, shape: VirtioShape, port: TransportPort) {
    this.#file = new RegisterFile(state, shape, port);
    this.#cells = state.cells;
    this.#lock = new Mutex(state.cells, cell.lock);
    this.#config = state.config;
    [this.#writableStart, this.#writableEnd] = shape.writableConfig ?? [0, 0];
  }

  read(offset: number, size: number): number {
    if (offset >= configOffset) return this.#readConfig(offset - configOffset, size);
    const register = registerAt(offset, size);
    if (register?.read === undefined) return 0;
    if (register.lockFree) return register.read(this.#file);
    this.#lock.lock();
    try {
      return register.read(this.#file);
    } finally {
      this.#lock.unlock();
    }
  }

  write(offset: number, size: number, value: number): void {
    if (offset >= configOffset) {
      this.#writeConfig(offset - configOffset, size, value);
      return;
    }
    const register = registerAt(offset, size);
    if (register?.write === undefined) return;
    if (register.lockFree) {
      register.write(this.#file, value);
      return;
    }
    this.#lock.lock();
    try {
      if (register.writable?.(Atomics.load(this.#cells, cell.status)) ?? true) register.write(this.#file, value);
    } finally {
      this.#lock.unlock();
    }
  }

  /** Fields that are wider than the access are the driver's to read between two looks at the generation (2.5.1). */
  #readConfig(offset: number, size: number): number {
    let value = 0;
    for (let byte = Math.min(size, 4) - 1; byte >= 0; byte--) value = (value << 8) | (this.#config[offset + byte] ?? 0);
    return value >>> 0;
  }

  #writeConfig(offset: number, size: number, value: number): void {
    if ((Atomics.load(this.#cells, cell.status) & driver) === 0) return;
    for (let byte = 0; byte < Math.min(size, 4); byte++) {
      const at = offset + byte;
      if (at >= this.#writableStart && at < this.#writableEnd) this.#config[at] = value >>> (8 * byte);
    }
  }
}

/** Registers are accessed whole (4.2.2.2). */
function registerAt(offset: number, size: number): MmioRegister | undefined {
  return size === 4 && offset % 4 === 0 ? byWord[offset / 4] : undefined;
}
