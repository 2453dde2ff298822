import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { ECANCELED, ETIMEDOUT } from '../../host/errno.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { viewMemory } from '../../host/libc/memory.ts';
import { IoVectors } from '../../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { BlockBackend } from '../block-backend.ts';
import type { EngineChooser } from '../disk-engines.ts';
import { DiskError } from '../disk-error.ts';
import { setShared } from './changed-blocks.ts';
import { FileCall } from './file-call.ts';
import { HotRegions } from './hot-regions.ts';
import { OwnFlushes } from './own-flushes.ts';
import { decodeRegionFile, encodeSector, regionFileBytes, regionPlaces, regionSectorBytes } from './region-file.ts';
import { ActivityControl, type SharedChanges } from './shared-changes.ts';
import { StampVoiding } from './stamp-voiding.ts';

/** A guest's change waits so long for its mark: a disk that is only slow takes less. */
const markPatienceMs = 5000;
/** What a look counts for at most: a process that was frozen comes back to a disk that had no time either. */
const longestLookMs = 1000;
const never = Number.POSITIVE_INFINITY;

/** What the log asks of whoever has it. */
export interface ActivityOwner {
  /** Changes that waited for their marks may be made: {@link ActivityLog.isMarked}. */
  marked(): void;
  /** Marks cannot be written, nor can the log be given up: whatever waits for one fails with this errno. */
  failed(errno: number): void;
  /** Wakes the colo thread. */
  ring(): void;
}

/**
 * The activity log of a machine's disks, on its io thread: has regions be marked in a file, durably, before they are written, and takes
 * the marks off again (see {@link HotRegions}). One call on the file at a time.
 *
 * A file that takes no mark, or none in time, costs the guest nothing else: the log is given up, once it is certain that nobody relies
 * on what that file says ({@link StampVoiding}). From then on all counts as marked. Which blocks changed is known in memory all the same.
 */
export class ActivityLog implements Closable {
  readonly id: Uint8Array;
  readonly #hot: HotRegions;
  readonly #control: ActivityControl;
  readonly #blocks: Int32Array<SharedArrayBuffer>;
  readonly #first: readonly number[];
  readonly #owner: ActivityOwner;
  readonly #now: () => number;
  readonly #resources = new Owner();
  /** Undefined: it was given up before it began. */
  readonly #file: LogFile | undefined;
  /** Of all disks that are written. */
  readonly #sweep: OwnFlushes;
  readonly #barrier: OwnFlushes;
  readonly #writable: readonly number[];
  #state: 'kept' | 'giving-up' | 'given-up' = 'kept';
  /** How long whoever waits for a mark goes on waiting, as of the last look. */
  #leftMs = never;
  #lookedAt = 0;
  #sweeps: number;
  #flushesSeen: number;
  #wishesSeen: number;
  #isClosed = false;

  /**
   * @param disks the machine's, as they are without protection
   * @throws DiskError if the file cannot be read, or is not this log
   */
  constructor(
    shared: SharedChanges,
    disks: readonly BlockBackend[],
    engines: EngineChooser,
    owner: ActivityOwner,
    now: () => number = () => performance.now(),
  ) {
    const { id, sizes } = shared;
    this.id = id;
    this.#owner = owner;
    this.#now = now;
    this.#control = new ActivityControl(shared.control);
    this.#blocks = new Int32Array(shared.blocks);
    this.#first = regionPlaces(sizes).first;
    this.#sweeps = this.#control.sweeps;
    this.#flushesSeen = this.#control.flushes;
    this.#wishesSeen = this.#control.wishesToGiveUp;
    this.#sweep = new OwnFlushes(disks, (result) => this.#swept(result));
    this.#barrier = new OwnFlushes(disks, (result) => {
      this.#control.flushed = result;
      owner.ring();
    });
    this.#writable = disks.flatMap(({ readOnly }, number) => (readOnly ? [] : [number]));
    if (this.#control.lost !== undefined) {
      this.#state = 'given-up';
      this.#hot = new HotRegions([], new Uint8Array(0));
      return;
    }
    try {
      this.#file = openLog(shared, engines, this.#resources);
      this.#hot = new HotRegions(sizes, this.#file.bitmap);
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
    return this.#state === 'given-up' || this.#hot.take(disk, offset, lengthBytes);
  }

  isMarked(disk: number, offset: number, lengthBytes: number): boolean {
    return this.#state === 'given-up' || this.#hot.isMarked(disk, offset, lengthBytes);
  }

  /** Hot path. */
  done(disk: number, offset: number, lengthBytes: number, epoch: number): void {
    if (this.#state !== 'given-up') this.#hot.done(disk, offset, lengthBytes, epoch);
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
    const { sweeps, through, flushes, wishesToGiveUp } = this.#control;
    if (wishesToGiveUp !== this.#wishesSeen) {
      this.#wishesSeen = wishesToGiveUp;
      this.giveUp(ECANCELED);
    }
    if (flushes !== this.#flushesSeen && !this.#barrier.isBusy) {
      this.#flushesSeen = flushes;
      this.#barrier.begin(this.#writable);
    }
    if (sweeps === this.#sweeps || this.#sweep.isBusy || this.#state !== 'kept') return;
    this.#sweeps = sweeps;
    const disks = through < 0 ? undefined : this.#hot.beginSweep(through);
    if (disks !== undefined) this.#sweep.begin(disks);
  }

  /** Begins to write what the file does not say yet, if nothing is being written. */
  write(): void {
    if (this.#state !== 'kept' || this.#isClosed) return;
    const file = this.#file as LogFile;
    if (this.#hot.waits && this.#leftMs === never) {
      this.#leftMs = markPatienceMs;
      this.#lookedAt = this.#now();
    }
    if (file.call.isBusy) return;
    const marks = this.#hot.beginMarking();
    const { stale } = this.#hot;
    if (stale.size === 0) {
      // They were in the bitmap, and durable, before an attempt that failed.
      if (marks) file.call.sync((result) => this.#written(result, true));
      return;
    }
    const first = Math.min(...stale);
    const end = Math.max(...stale) + 1;
    stale.clear();
    for (let sector = first; sector < end; sector++) {
      encodeSector(file.bytes.subarray(sector * regionSectorBytes), this.id, sector, this.#hot.bitmap);
    }
    const offset = first * regionSectorBytes;
    const lengthBytes = (end - first) * regionSectorBytes;
    file.call.write(file.address + offset, offset, lengthBytes, marks, (result) => this.#written(result, marks));
  }

  /** Whether somebody has waited too long; to be looked at after {@link waitMs}. */
  look(): void {
    if (this.#leftMs === never) return;
    const now = this.#now();
    this.#leftMs -= Math.min(now - this.#lookedAt, longestLookMs);
    this.#lookedAt = now;
    if (this.#leftMs <= 0) this.giveUp(ETIMEDOUT);
  }

  /** Undefined: nobody waits. */
  get waitMs(): number | undefined {
    return this.#leftMs === never ? undefined : Math.ceil(Math.min(this.#leftMs, longestLookMs));
  }

  /** No log is kept any more for that reason, as soon as nobody relies on it: {@link ActivityOwner.marked}, or {@link ActivityOwner.failed}. */
  giveUp(errno: number): void {
    this.#leftMs = never;
    if (this.#state === 'given-up') this.#owner.ring();
    if (this.#state !== 'kept' || this.#isClosed) return;
    this.#state = 'giving-up';
    (this.#file as LogFile).voiding.begin((result) => this.#gaveUp(errno, result));
  }

  /** What is under way keeps its memory. */
  close(): void {
    this.#isClosed = true;
    this.#leftMs = never;
    this.#file?.voiding.close();
    if (this.#file?.call.isBusy !== true) this.#resources.close();
  }

  #written(result: number, marks: boolean): void {
    if (this.#isClosed) {
      this.#resources.close();
      return;
    }
    this.#leftMs = never;
    if (marks) {
      if (result < 0) this.#hot.notMarked();
      else this.#hot.marked();
      this.#tellCount();
      if (result < 0) this.giveUp(-result);
      else this.#owner.marked();
    }
    this.write();
  }

  #gaveUp(errno: number, result: number): void {
    if (result < 0) {
      // They are in the bitmap all the same: the next change has its own attempt.
      this.#state = 'kept';
      this.#control.keptAgainst = -result;
      this.#owner.failed(errno);
    } else {
      this.#state = 'given-up';
      this.#control.lost = errno;
      this.#tellCount();
      this.#owner.marked();
    }
    this.#owner.ring();
  }

  #swept(result: number): void {
    this.#hot.endSweep(result === 0);
    if (this.#state !== 'kept') return;
    this.#tellCount();
    this.write();
  }

  #tellCount(): void {
    this.#control.marked = this.#state === 'given-up' ? 0 : this.#hot.count;
  }
}

/** The file of a log, open on the io thread. */
interface LogFile {
  readonly bitmap: Uint8Array;
  readonly bytes: Uint8Array;
  readonly address: number;
  readonly call: FileCall;
  readonly voiding: StampVoiding;
}

function openLog({ path, id, sizes, stamps }: SharedChanges, engines: EngineChooser, owner: Owner): LogFile {
  const { count } = regionPlaces(sizes);
  // That it was read need not be written down, which a disk that hangs would wait for.
  const fd = openSync(path, constants.O_RDWR | constants.O_NOATIME) as Fd;
  owner.defer(() => closeSync(fd));
  const bitmap = decodeRegionFile(readFileSync(fd), id, count);
  if (bitmap === undefined) throw new DiskError(`${path} is not the activity log that was made for these disks`);
  const mapping = owner.own(new AnonymousMapping('activity log', regionFileBytes(count)));
  const vectors = owner.own(new IoVectors(1, 1)).vectors;
  return {
    bitmap,
    bytes: new Uint8Array(viewMemory(mapping.address, mapping.sizeBytes)),
    address: mapping.address,
    call: new FileCall(engines.engineFor(path, true), fd, vectors[0] as FileCall['data']),
    voiding: new StampVoiding(stamps, engines),
  };
}
