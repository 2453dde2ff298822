import { DiskBuffer } from '../disk-buffer.ts';
import type { OpenDisk } from '../disk-view.ts';
import { sectorBytes } from './disk-range.ts';

/** What S makes durable, one after the other: marks beside its disks, what the disks are, the disks themselves. */
export class DurableSteps {
  readonly #failed: (error: string) => void;
  readonly #done: () => void;
  #count = 0;
  #last: Promise<void> = Promise.resolve();

  /**
   * @param failed a step failed; those after it are taken all the same
   * @param done a step is over, well or not
   */
  constructor(failed: (error: string) => void, done: () => void) {
    this.#failed = failed;
    this.#done = done;
  }

  get isIdle(): boolean {
    return this.#count === 0;
  }

  /** Resolves when all steps of before are over. */
  get settled(): Promise<void> {
    return this.#last;
  }

  /** @param otherwise what is said if it fails */
  add(otherwise: string, step: () => Promise<void>): void {
    this.#count++;
    const over = (): void => {
      this.#count--;
      this.#done();
    };
    this.#last = this.#last.then(step).then(over, (error: Error) => {
      this.#failed(`${otherwise}: ${error.message}`);
      over();
    });
  }
}

/** What was written to the disks is durable. @throws Error if that of any is not */
export async function flushAll(disks: readonly OpenDisk[]): Promise<void> {
  const results = await Promise.all(disks.map((disk) => flushed(disk)));
  if (results.some((result) => result < 0)) throw new Error('a flush failed');
}

async function flushed({ backend }: OpenDisk): Promise<number> {
  if (backend.readOnly) return 0;
  const buffer = new DiskBuffer(sectorBytes);
  try {
    return await buffer.flush(backend);
  } finally {
    buffer.close();
  }
}
