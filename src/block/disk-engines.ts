import { statfsSync } from 'node:fs';
import type { EventFd } from '../host/events/eventfd.ts';
import { IoUringUnavailableError } from '../host/files/io-uring.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import { AtOnceCalls } from './at-once-calls.ts';
import type { BatchListener, DiskEngine, WatchedEngine } from './disk-engine.ts';
import { PlainEngine } from './plain-engine.ts';
import { UringEngine } from './uring-engine.ts';

/** Chooses how calls on a file are made. */
export interface EngineChooser {
  /** @param regular a file in a file system, not a device */
  engineFor(path: string, regular: boolean): DiskEngine;
}

/**
 * The engines of one thread. Files in memory (tmpfs) are accessed at once: nothing there ever waits, and the detour
 * through the kernel's threads costs several times the access. All others go through io_uring where there is one.
 */
export class DiskEngines implements EngineChooser, Closable {
  /** Why there is no io_uring; undefined if there is. */
  readonly withoutUring: string | undefined;
  readonly #owner = new Owner();
  readonly #waiting: WatchedEngine;
  readonly #atOnce: WatchedEngine;

  constructor() {
    try {
      const uring = this.#owner.own(new UringEngine());
      this.#waiting = uring;
      this.#atOnce = new AtOnceCalls(uring);
    } catch (error) {
      if (!(error instanceof IoUringUnavailableError)) throw error;
      this.withoutUring = error.message;
      this.#waiting = this.#owner.own(new PlainEngine());
      this.#atOnce = this.#waiting;
    }
  }

  engineFor(path: string, regular: boolean): DiskEngine {
    const TMPFS_MAGIC = 0x01021994;
    return regular && statfsSync(path).type === TMPFS_MAGIC ? this.#atOnce : this.#waiting;
  }

  /** To be watched, edge-triggered; then {@link reap}. */
  get completions(): EventFd {
    return this.#waiting.completions;
  }

  /** Delivers what is done. */
  reap(): void {
    this.#waiting.reap();
  }

  /** `listener` hears of each batch of completions, of any file. */
  listen(listener: BatchListener): void {
    this.#waiting.listen(listener);
  }

  close(): void {
    this.#owner.close();
  }
}
