import { recordRingStorage } from '../../host/threads/record-ring.ts';

/**
 * What the io thread and the thread that forwards share of a protected machine's disks. The ring's records are changes, tagged
 * with their epoch, in the order in which both sides make them:
 *
 *      0  u32  disk, by its number in the machine            4  i32  1: the disk's own backend is done with it
 *      8  f64  offset on the disk                           16  f64  bytes
 *     24  u32  where its data begins, from the record's first byte; writes only
 */
export const changeRecord = { disk: 0, done: 4, offset: 8, length: 16, dataAt: 24, headBytes: 32 } as const;

/**
 * Kinds of changes. `erase` gives zeros, and the space may be given back: a discard is one too, or the two disks could read
 * differently afterwards.
 */
export const changeKind = { write: 1, erase: 2, zeroes: 3 } as const;
export type ChangeKind = (typeof changeKind)[keyof typeof changeKind];

/** Most data of one record. */
export const mostChangeBytes = 512 * 1024;

/** Data in the ring lies as direct I/O wants it, where a disk does; what wants more than this is copied once more. */
export const mostAlignment = 4096;

/** The smallest ring that holds the largest change wherever it begins. */
const leastRingBytes = 4 * 1024 * 1024;

/** What a change takes of the standby's log, in bytes: its data, and what it is kept with. */
export function loggedBytes(dataBytes: number): number {
  return dataBytes + 64;
}

/** Storage of both, as the threads get it. */
export interface DiskRingStorage {
  readonly control: SharedArrayBuffer;
  readonly ring: SharedArrayBuffer;
}

/**
 * @param ringBytes room for changes on their way between the threads, a power of two
 * @param logBytes what the standby's log may hold (see {@link loggedBytes})
 */
export function diskRingStorage(ringBytes: number, logBytes: number): DiskRingStorage {
  if (ringBytes < leastRingBytes) throw new RangeError(`a ring for disks has ${leastRingBytes} bytes at least`);
  const storage = { control: new SharedArrayBuffer(controlBytes), ring: recordRingStorage(ringBytes) };
  new Float64Array(storage.control)[boundCell] = logBytes;
  return storage;
}

/** Bytes that a record of a write needs, its data aligned. */
export function writeRecordBytes(dataBytes: number, alignment: number): number {
  return changeRecord.headBytes + dataBytes + alignment;
}

// Numbers, each with one writer.
const boundCell = 0;
const forwardedCell = 1;
const settledCell = 2;
const numberCells = 3;
// Flags.
const stateCell = 0;
const waitsForDoneCell = 1;
const waitsForLogCell = 2;
const failureCell = 3;
const failedDiskCell = 4;
const countedOnCell = 5;
const flagCells = 6;
const flagsAt = numberCells * 8;
const controlBytes = flagsAt + flagCells * 4;

/** The io thread's disk that could not do what its guest asked for. */
export interface DiskFailureCell {
  readonly disk: number;
  readonly errno: number;
}

/** Cells between the io thread and the one that forwards. */
export class DiskRingControl {
  readonly #numbers: Float64Array<SharedArrayBuffer>;
  readonly #flags: Int32Array<SharedArrayBuffer>;

  constructor(storage: SharedArrayBuffer) {
    this.#numbers = new Float64Array(storage, 0, numberCells);
    this.#flags = new Int32Array(storage, flagsAt, flagCells);
  }

  /** What the standby's log may hold. */
  get logBytes(): number {
    return this.#numbers[boundCell] as number;
  }

  /** The next change has to wait: the standby's log would grow beyond its bound. Hot path. */
  get logIsFull(): boolean {
    const numbers = this.#numbers;
    return (numbers[forwardedCell] as number) - (numbers[settledCell] as number) >= (numbers[boundCell] as number);
  }

  /** io: a change is in the ring. Hot path. */
  forward(bytes: number): void {
    (this.#numbers[forwardedCell] as number) += bytes;
  }

  /**
   * Of the standby's log, in bytes: what it has laid down since pairing, without what it was sent other than through the ring.
   *
   * @returns true if the io thread waits for this
   */
  settle(bytes: number): boolean {
    this.#numbers[settledCell] = bytes;
    return this.#take(waitsForLogCell);
  }

  /** io: wants to be woken by {@link settle}. False if there is room already. */
  waitForLog(): boolean {
    Atomics.store(this.#flags, waitsForLogCell, 1);
    if (this.logIsFull) return true;
    Atomics.store(this.#flags, waitsForLogCell, 0);
    return false;
  }

  /** The io thread waits for room in the standby's log. */
  get waitsForLog(): boolean {
    return Atomics.load(this.#flags, waitsForLogCell) !== 0;
  }

  /** Every change that is in flight is in the ring: none is left of those that were asked for before protection began. */
  get isComplete(): boolean {
    return Atomics.load(this.#flags, stateCell) === 1;
  }

  /** io: from now on it is so. */
  complete(): void {
    Atomics.store(this.#flags, stateCell, 1);
  }

  /** Wants the bell rung when a change is done. Look at what is done after this. */
  waitForDone(): void {
    Atomics.store(this.#flags, waitsForDoneCell, 1);
  }

  /** io: a change is done; true if that is waited for. Hot path. */
  takeWaitForDone(): boolean {
    return this.#take(waitsForDoneCell);
  }

  /** io: a disk failed. The first one stays. */
  fail(disk: number, errno: number): void {
    if (Atomics.load(this.#flags, failureCell) !== 0) return;
    this.#flags[failedDiskCell] = disk;
    Atomics.store(this.#flags, failureCell, errno);
  }

  /** The standby can go on without this machine: a disk that fails from now on is its affair, and not the guest's. */
  countOnStandby(): void {
    Atomics.store(this.#flags, countedOnCell, 1);
  }

  get standbyIsCountedOn(): boolean {
    return Atomics.load(this.#flags, countedOnCell) !== 0;
  }

  get failure(): DiskFailureCell | undefined {
    const errno = Atomics.load(this.#flags, failureCell);
    return errno === 0 ? undefined : { disk: this.#flags[failedDiskCell] as number, errno };
  }

  #take(cell: number): boolean {
    return Atomics.load(this.#flags, cell) !== 0 && Atomics.exchange(this.#flags, cell, 0) !== 0;
  }
}
