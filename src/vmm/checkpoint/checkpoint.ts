import type { Closable } from '../../host/ownership.ts';
import { Owner } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import type { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../memory/dirty-collector.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { PageCopier } from '../../memory/page-copy.ts';
import { StagingArea } from '../../memory/staging-area.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import type { OwnDevices } from '../vmstate/image-state.ts';
import type { StateImage } from '../vmstate/state-image.ts';

/** The whole state of a machine but its RAM. The image is raw bytes in memory that threads share; devices are plain objects. */
export interface CheckpointState {
  readonly image: StateImage;
  readonly own: OwnDevices;
  readonly devices: readonly IoDeviceState[];
}

/** What differs between two checkpoints of a machine: pages, and its whole state. Its own are valid until its next. */
export interface Checkpoint extends CheckpointState {
  readonly pages: StagingArea;
}

/**
 * What a machine's checkpoints are collected in, made once and used for each: nothing is allocated while it is stopped.
 *
 * Some pages may be read while the guest runs, so that few are left for the stop: {@link collectLive} puts their marks into
 * bitmaps that another thread has too. It takes a page's mark ({@link DirtyBitmap.unmark}) before it reads the page. What was
 * written before the read is in what it read; what is written later is marked again, in KVM's log or by who writes (after the
 * write), and found by the next look. A mark that it did not take goes into the next checkpoint.
 */
export class CheckpointArea implements Closable {
  readonly staging: StagingArea;
  /** Pages to be read while the guest runs, a bitmap for each region. */
  readonly live: readonly DirtyBitmap[];
  readonly #memory: GuestMemory;
  readonly #tracker: DirtyTracker;
  readonly #dirty: readonly DirtyBitmap[];
  readonly #owner = new Owner();

  /** Pages that change from here on are those of the first checkpoint. @param expectedPages to have memory ready for */
  constructor(memory: GuestMemory, tracker: DirtyTracker, expectedPages: number) {
    this.#memory = memory;
    this.#tracker = this.#owner.own(tracker);
    this.#dirty = tracker.emptyBitmaps();
    this.live = tracker.emptyBitmaps();
    try {
      this.staging = this.#owner.own(new StagingArea(memory.sizeBytes / pageSize));
      this.staging.prepare(expectedPages);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** Adds the pages that changed since anybody looked last to {@link live}; how many pages are marked there. */
  collectLive(): number {
    this.#tracker.collect(this.live);
    return this.live.reduce((pages, { count }) => pages + count, 0);
  }

  /** Has all of RAM be read once while the guest runs. */
  markAllLive(): void {
    for (const bitmap of this.live) bitmap.markAll();
  }

  /** Before the machine is stopped. */
  clear(): void {
    for (const bitmap of this.#dirty) bitmap.clear();
  }

  /** Finds the pages that changed since the last checkpoint and were not read live since, and some that may have. The machine is stopped. */
  collect(): void {
    this.#tracker.collectOften(this.#dirty);
    for (let region = 0; region < this.live.length; region++) {
      (this.live[region] as DirtyBitmap).drainInto(this.#dirty[region] as DirtyBitmap);
    }
  }

  /** Copies them aside. */
  copy(copier?: PageCopier): void {
    this.staging.copy(this.#memory, this.#dirty, copier);
  }

  close(): void {
    this.#owner.close();
  }
}
