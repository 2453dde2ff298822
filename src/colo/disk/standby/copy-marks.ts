import { removeMark, takesMark, writeMark } from '../../../block/standby-mark.ts';
import type { Epoch, Term } from '../../protocol/numbers.ts';
import type { OpenDisk } from '../disk-view.ts';
import { type DurableSteps, flushAll } from './durable-steps.ts';

/** The marks beside S's disks: they say that these are copies of a pair's, and whether they are whole (src/block/standby-mark.ts). */
export class CopyMarks {
  readonly #disks: readonly OpenDisk[];
  readonly #of: { readonly pair: string; readonly term: Term };
  readonly #steps: DurableSteps;
  #state: 'none' | 'being written' | 'copying' | 'whole' = 'none';

  constructor(disks: readonly OpenDisk[], { pair, term }: { pair: string; term: Term }, steps: DurableSteps) {
    this.#disks = disks;
    this.#of = { pair, term };
    this.#steps = steps;
  }

  /** True once they are there: the disks may be written. If they are not, that is begun. */
  mayWrite(): boolean {
    if (this.#state === 'none') {
      this.#state = 'being written';
      this.#steps.add('a disk cannot be marked as a copy', async () => {
        await Promise.all(this.#paths().map((path) => writeMark(path, this.#of)));
        this.#state = 'copying';
      });
    }
    return this.#state !== 'being written';
  }

  /** All of that checkpoint is on the disks: they say so, once. What comes later is laid down on a whole disk. */
  whole(epoch: Epoch): void {
    if (this.#state !== 'copying') return;
    this.#state = 'whole';
    this.#steps.add('a disk cannot be marked as whole', async () => {
      await flushAll(this.#disks);
      await Promise.all(this.#paths().map((path) => writeMark(path, { ...this.#of, epoch })));
    });
  }

  /** Nobody lays down what was to follow: the disks stand at no checkpoint any more, and say so. */
  torn(): void {
    if (this.#state !== 'whole') return;
    this.#state = 'copying';
    this.#steps.add('a disk cannot be marked as no whole one', async () => {
      await Promise.all(this.#paths().map((path) => writeMark(path, this.#of)));
    });
  }

  /** The disks are nobody's copies any more. Resolves when that is on disk, after all steps of before. */
  async remove(): Promise<void> {
    await this.#steps.settled;
    await Promise.all(this.#paths().map(removeMark));
  }

  #paths(): string[] {
    return this.#disks.filter(({ path, backend }) => !backend.readOnly && takesMark(path)).map(({ path }) => path);
  }
}
