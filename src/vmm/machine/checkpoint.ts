import type { Closable } from '../../host/ownership.ts';
import { Owner } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import type { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../memory/dirty-collector.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { StagingArea } from '../../memory/staging-area.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import type { OwnDevices } from '../vmstate/image-state.ts';
import type { StateImage } from '../vmstate/state-image.ts';

/**
 * What differs between two checkpoints of a machine: pages, and its whole state. The image and the pages are raw bytes in
 * memory that threads share; devices are small plain objects. Of a machine's own checkpoint they are valid until its next.
 */
export interface Checkpoint {
  readonly pages: StagingArea;
  readonly image: StateImage;
  readonly own: OwnDevices;
  readonly devices: readonly IoDeviceState[];
}

/** What a machine's checkpoints are collected in, made once and used for each: nothing is allocated while it is stopped. */
export class CheckpointArea implements Closable {
  readonly staging: StagingArea;
  readonly #memory: GuestMemory;
  readonly #tracker: DirtyTracker;
  readonly #dirty: readonly DirtyBitmap[];
  readonly #owner = new Owner();

  /** Pages that change from here on are those of the first checkpoint. @param expectedPages to have memory ready for */
  constructor(memory: GuestMemory, tracker: DirtyTracker, expectedPages: number) {
    this.#memory = memory;
    this.#tracker = this.#owner.own(tracker);
    this.#dirty = tracker.emptyBitmaps();
    try {
      this.staging = this.#owner.own(new StagingArea(memory.sizeBytes / pageSize));
      this.staging.prepare(expectedPages);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** Before the machine is stopped. */
  clear(): void {
    for (const bitmap of this.#dirty) bitmap.clear();
  }

  /** Finds the pages that changed since the last checkpoint. The machine is stopped. */
  collect(): void {
    this.#tracker.collect(this.#dirty);
  }

  /** Copies them aside. */
  copy(): void {
    this.staging.copy(this.#memory, this.#dirty);
  }

  close(): void {
    this.#owner.close();
  }
}
