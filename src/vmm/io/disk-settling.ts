import type { BlockBackend, BlockRequest } from '../../block/block-backend.ts';
import { errnoName } from '../../host/errno.ts';
import type { IoVector } from '../../host/mappings/io-vector.ts';

/** What settling needs of the thread that it happens on. */
export interface SettlingParts {
  /** Nothing that a driver asked for is in flight. */
  readonly idle: () => boolean;
  /** Waits a moment for completions, and delivers them. */
  readonly turn: () => void;
  /** Milliseconds, from anywhere. */
  readonly now: () => number;
}

/**
 * Brings the files of all disks to where the guest was told they are: what is in flight is finished, then every disk is
 * flushed, an overlay's allocation bits with it. While devices are paused: so a copy that is made then holds all of it.
 */
export class DiskSettling {
  readonly #parts: SettlingParts;
  readonly #flushes: DiskFlush[] = [];

  constructor(parts: SettlingParts) {
    this.#parts = parts;
  }

  /** From now on settles this disk too. What is only read has nothing to settle. */
  add(name: string, backend: BlockBackend): void {
    if (!backend.readOnly) this.#flushes.push(new DiskFlush(name, backend));
  }

  /**
   * @param patienceMs the longest that it takes, whatever a disk does
   * @returns which disk is not settled, and why; undefined if all are
   */
  settle(patienceMs: number): string | undefined {
    const { idle, turn, now } = this.#parts;
    const deadline = now() + patienceMs;
    const late = `has not finished what it was writing within ${patienceMs / 1000} s`;
    while (!idle()) {
      if (now() >= deadline) return `a disk ${late}`;
      turn();
    }
    for (const flush of this.#flushes) flush.wanted = true;
    for (;;) {
      for (const flush of this.#flushes) flush.begin();
      const slow = this.#flushes.find(({ wanted, pending }) => wanted || pending);
      if (slow === undefined) break;
      if (now() >= deadline) return `${slow.name} ${late}`;
      turn();
    }
    const failed = this.#flushes.find(({ result }) => result < 0);
    return failed === undefined ? undefined : `${failed.name} cannot be flushed: ${errnoName(-failed.result)}`;
  }
}

/** A disk's flush, which is used again and again. */
class DiskFlush implements BlockRequest {
  readonly offset = 0;
  readonly length = 0;
  readonly name: string;
  /** To be begun as soon as the one before is over. */
  wanted = false;
  pending = false;
  result = 0;
  readonly #backend: BlockBackend;

  constructor(name: string, backend: BlockBackend) {
    this.name = name;
    this.#backend = backend;
  }

  get data(): IoVector {
    throw new Error('a flush has no data');
  }

  begin(): void {
    if (!this.wanted || this.pending) return;
    this.wanted = false;
    this.pending = true;
    this.#backend.flush(this);
    this.#backend.start();
  }

  finished(result: number): void {
    this.pending = false;
    this.result = result;
  }
}
