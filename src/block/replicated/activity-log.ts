import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Fd } from '../../host/libc/descriptors.ts';
import { viewMemory } from '../../host/libc/memory.ts';
import { IoVectors } from '../../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { BlockBackend, BlockRequest } from '../block-backend.ts';
import type { Completion, DiskEngine } from '../disk-engine.ts';
import type { EngineChooser } from '../disk-engines.ts';
import { DiskError } from '../disk-error.ts';
import { isTransient, mostRetries } from '../write-back.ts';
import { setShared } from './changed-blocks.ts';
import { HotRegions } from './hot-regions.ts';
import { decodeRegionFile, encodeSector, regionFileBytes, regionPlaces, regionSectorBytes } from './region-file.ts';

/** What the io thread and the colo thread share of the changes that may make two machines' disks differ. */
export interface SharedChanges {
  /** A file of marked regions (region-file.ts), which is the io thread's from now on. */
  readonly path: string;
  readonly id: Uint8Array;
  /** Of all disks of the machine. */
  readonly sizes: readonly number[];
  /** See {@link ActivityControl}. */
  readonly control: SharedArrayBuffer;
  /** Blocks that changed while nobody was sent changes (changed-blocks.ts). */
  readonly blocks: SharedArrayBuffer;
}

/** Cells between the two threads. */
export class ActivityControl {
  readonly #through: Float64Array<SharedArrayBuffer>;
  readonly #cells: Int32Array<SharedArrayBuffer>;

  static storage(): SharedArrayBuffer {
    return new SharedArrayBuffer(24);
  }

  constructor(storage: SharedArrayBuffer) {
    this.#through = new Float64Array(storage, 0, 1);
    this.#cells = new Int32Array(storage, 8, 4);
  }

  /** The standby has all of the epochs up to this one on its disks, durable; below 0: nothing is known of it. */
  get through(): number {
    return this.#through[0] as number;
  }

  set through(epoch: number) {
    this.#through[0] = epoch;
  }

  /** Has the io thread look, when it is woken, which marks can go. */
  sweep(): void {
    Atomics.add(this.#cells, 0, 1);
  }

  /** io: counts these. */
  get sweeps(): number {
    return Atomics.load(this.#cells, 0);
  }

  /** Regions that are marked. */
  get marked(): number {
    return Atomics.load(this.#cells, 1);
  }

  set marked(count: number) {
    Atomics.store(this.#cells, 1, count);
  }

  /** Has the io thread, when it is woken, make all disks durable as they are: {@link flushed}. Once at a time. */
  askFlush(): void {
    Atomics.store(this.#cells, 3, 0);
    Atomics.add(this.#cells, 2, 1);
  }

  /** io: counts these. */
  get flushes(): number {
    return Atomics.load(this.#cells, 2);
  }

  /** Undefined: not yet; or 0, or a negative errno. */
  get flushed(): number | undefined {
    const result = Atomics.load(this.#cells, 3);
    return result === 0 ? undefined : Math.min(result, 0);
  }

  set flushed(result: number | undefined) {
    Atomics.store(this.#cells, 3, (result ?? 0) < 0 ? (result as number) : 1);
  }
}

/** What the log asks of whoever has it. */
export interface ActivityOwner {
  /** Changes that waited for their marks may be made: {@link ActivityLog.isMarked}. */
  marked(): void;
  /** Marks cannot be written: whatever waits for one fails with this errno. */
  failed(errno: number): void;
  /** Wakes the colo thread. */
  ring(): void;
}

/**
 * The activity log of a machine's disks, on its io thread: has regions be marked in a file, durably, before they are written, and takes
 * the marks off again (see {@link HotRegions}). One call on the file at a time.
 */
export class ActivityLog implements Closable {
  readonly id: Uint8Array;
  readonly #hot: HotRegions;
  readonly #control: ActivityControl;
  readonly #blocks: Int32Array<SharedArrayBuffer>;
  readonly #first: readonly number[];
  readonly #owner: ActivityOwner;
  readonly #engine: DiskEngine;
  readonly #fd: Fd;
  readonly #resources = new Owner();
  readonly #bytes: Uint8Array;
  readonly #address: number;
  readonly #call: FileCall;
  /** Of all disks that are written. */
  readonly #sweep: Flushes;
  readonly #barrier: Flushes;
  readonly #writable: readonly number[];
  #sweeps: number;
  #flushesSeen: number;
  #isClosed = false;

  /**
   * @param disks the machine's, as they are without protection
   * @throws DiskError if the file cannot be read, or is not this log
   */
  constructor(shared: SharedChanges, disks: readonly BlockBackend[], engines: EngineChooser, owner: ActivityOwner) {
    const { path, id, sizes } = shared;
    this.id = id;
    this.#owner = owner;
    this.#control = new ActivityControl(shared.control);
    this.#blocks = new Int32Array(shared.blocks);
    const { first, count } = regionPlaces(sizes);
    this.#first = first;
    this.#sweeps = this.#control.sweeps;
    this.#flushesSeen = this.#control.flushes;
    this.#sweep = new Flushes(disks, (result) => this.#swept(result));
    this.#barrier = new Flushes(disks, (result) => {
      this.#control.flushed = result;
      owner.ring();
    });
    this.#writable = disks.flatMap(({ readOnly }, number) => (readOnly ? [] : [number]));
    try {
      const bitmap = decodeRegionFile(readFileSync(path), id, count);
      if (bitmap === undefined) throw new DiskError(`${path} is not the activity log that was made for these disks`);
      this.#hot = new HotRegions(sizes, bitmap);
      this.#fd = openSync(path, 'r+') as Fd;
      this.#resources.defer(() => closeSync(this.#fd));
      const mapping = this.#resources.own(new AnonymousMapping('activity log', regionFileBytes(count)));
      this.#address = mapping.address;
      this.#bytes = new Uint8Array(viewMemory(mapping.address, mapping.sizeBytes));
      const vectors = this.#resources.own(new IoVectors(1, 1)).vectors;
      this.#engine = engines.engineFor(path, true);
      this.#call = new FileCall(this.#engine, this.#fd, vectors[0] as FileCall['data']);
    } catch (error) {
      this.#resources.close();
      throw error instanceof DiskError
        ? error
        : new DiskError(`the activity log cannot be opened: ${(error as Error).message}`, { cause: error });
    }
    this.#tellCount();
  }

  /** As {@link HotRegions.take}; what has to wait, waits for {@link ActivityOwner.marked}. Hot path. */
  take(disk: number, offset: number, lengthBytes: number): boolean {
    return this.#hot.take(disk, offset, lengthBytes);
  }

  isMarked(disk: number, offset: number, lengthBytes: number): boolean {
    return this.#hot.isMarked(disk, offset, lengthBytes);
  }

  /** Hot path. */
  done(disk: number, offset: number, lengthBytes: number, epoch: number): void {
    this.#hot.done(disk, offset, lengthBytes, epoch);
  }

  /** A change is made that nobody is sent. Hot path. */
  changed(disk: number, offset: number, lengthBytes: number): void {
    setShared(this.#blocks, this.#first[disk] as number, offset, lengthBytes);
  }

  /** Epochs are counted anew. */
  beginEpochs(): void {
    this.#hot.beginEpochs();
  }

  /** The thread was woken. */
  woken(): void {
    const { sweeps, through, flushes } = this.#control;
    if (flushes !== this.#flushesSeen && !this.#barrier.isBusy) {
      this.#flushesSeen = flushes;
      this.#barrier.begin(this.#writable);
    }
    if (sweeps === this.#sweeps || this.#sweep.isBusy) return;
    this.#sweeps = sweeps;
    const disks = through < 0 ? undefined : this.#hot.beginSweep(through);
    if (disks !== undefined) this.#sweep.begin(disks);
  }

  /** Begins to write what the file does not say yet, if nothing is being written. */
  write(): void {
    if (this.#call.isBusy || this.#isClosed) return;
    const marks = this.#hot.beginMarking();
    const { stale } = this.#hot;
    if (stale.size === 0) {
      // They were in the bitmap, and durable, before an attempt that failed.
      if (marks) this.#call.sync((result) => this.#written(result, true));
      return;
    }
    const first = Math.min(...stale);
    const end = Math.max(...stale) + 1;
    stale.clear();
    for (let sector = first; sector < end; sector++) {
      encodeSector(this.#bytes.subarray(sector * regionSectorBytes), this.id, sector, this.#hot.bitmap);
    }
    const offset = first * regionSectorBytes;
    const lengthBytes = (end - first) * regionSectorBytes;
    this.#call.write(this.#address + offset, offset, lengthBytes, marks, (result) => this.#written(result, marks));
  }

  /** What is under way keeps its memory. */
  close(): void {
    this.#isClosed = true;
    if (!this.#call.isBusy) this.#resources.close();
  }

  #written(result: number, marks: boolean): void {
    if (this.#isClosed) {
      this.#resources.close();
      return;
    }
    if (marks) {
      if (result < 0) this.#hot.notMarked();
      else this.#hot.marked();
      this.#tellCount();
      if (result < 0) this.#owner.failed(-result);
      else this.#owner.marked();
    }
    this.write();
  }

  #swept(result: number): void {
    this.#hot.endSweep(result === 0);
    this.#tellCount();
    this.write();
  }

  #tellCount(): void {
    this.#control.marked = this.#hot.count;
  }
}

/** Flushes that no guest asked for, of several disks at a time. */
class Flushes {
  readonly #disks: readonly BlockBackend[];
  readonly #requests: readonly OwnFlush[];
  readonly #done: (result: number) => void;
  #left = 0;
  #result = 0;

  /** @param done gets 0, or the negative errno of one that failed */
  constructor(disks: readonly BlockBackend[], done: (result: number) => void) {
    this.#disks = disks;
    this.#requests = disks.map(() => new OwnFlush((result) => this.#finished(result)));
    this.#done = done;
  }

  get isBusy(): boolean {
    return this.#left > 0;
  }

  begin(disks: readonly number[]): void {
    this.#result = 0;
    this.#left = disks.length + 1;
    for (const disk of disks) {
      this.#disks[disk]?.flush(this.#requests[disk] as OwnFlush);
      this.#disks[disk]?.start();
    }
    this.#finished(0);
  }

  #finished(result: number): void {
    if (result < 0) this.#result = result;
    if (--this.#left === 0) this.#done(this.#result);
  }
}

class OwnFlush implements BlockRequest {
  readonly offset = 0;
  readonly length = 0;
  readonly finished: (result: number) => void;

  constructor(finished: (result: number) => void) {
    this.finished = finished;
  }

  get data(): never {
    throw new Error('a flush has no data');
  }
}

/** A write to the file, with an fdatasync behind it if it must last. */
class FileCall implements Completion {
  isBusy = false;
  readonly data: IoVectors['vectors'][number];
  readonly #engine: DiskEngine;
  readonly #fd: Fd;
  #left = 0;
  #syncs = false;
  #retries = 0;
  #done: (result: number) => void = () => {};

  constructor(engine: DiskEngine, fd: Fd, data: IoVectors['vectors'][number]) {
    this.#engine = engine;
    this.#fd = fd;
    this.data = data;
  }

  write(address: number, offset: number, lengthBytes: number, syncs: boolean, done: (result: number) => void): void {
    this.data.clear();
    this.data.add(address, lengthBytes);
    this.data.offset = offset;
    this.#begin(lengthBytes, syncs, done);
    this.#engine.write(this.#fd, this.data, this);
    this.#engine.start();
  }

  sync(done: (result: number) => void): void {
    this.#begin(0, true, done);
    this.#engine.sync(this.#fd, this);
    this.#engine.start();
  }

  finished(result: number): void {
    if (isTransient(result) && this.#retries++ < mostRetries) this.#again();
    else if (result < 0) this.#end(result);
    else if (this.#left > 0) {
      this.#left -= result;
      if (this.#left > 0) {
        this.data.dropFront(result);
        this.data.offset += result;
        this.#again();
      } else if (this.#syncs) this.#again();
      else this.#end(0);
    } else this.#end(0);
  }

  #begin(lengthBytes: number, syncs: boolean, done: (result: number) => void): void {
    this.isBusy = true;
    this.#left = lengthBytes;
    this.#syncs = syncs;
    this.#retries = 0;
    this.#done = done;
  }

  #again(): void {
    if (this.#left > 0) this.#engine.write(this.#fd, this.data, this);
    else this.#engine.sync(this.#fd, this);
    this.#engine.start();
  }

  #end(result: number): void {
    this.isBusy = false;
    this.#done(result);
  }
}
