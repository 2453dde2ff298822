import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { DiskHistory, ResyncRules } from '../resync/disk-history.ts';

/** Which blocks are marked as written since the disks were the same, and in which epoch each was written last. */
export class WriteMarks {
  readonly #history: DiskHistory;
  readonly #rules: ResyncRules;
  readonly #writtenIn = new Map<number, number>();

  constructor(history: DiskHistory, rules: ResyncRules) {
    this.#history = history;
    this.#rules = rules;
  }

  get isEmpty(): boolean {
    return this.#history.marks.size === 0;
  }

  /** A block is about to be written. @param epoch 0, if nobody is sent it */
  wrote(block: number, epoch: number): void {
    if (this.#rules.marksWrites) this.#history.marks.add(block);
    this.#writtenIn.set(block, epoch);
  }

  /** Marked blocks that were not written after that epoch. */
  upTo(through: Epoch): number[] {
    return [...this.#history.marks].filter((block) => this.#isUpTo(block, through));
  }

  /** They are durable on both sides as they were at the end of that epoch; what was written since stays marked. */
  forget(blocks: readonly number[], through: Epoch): void {
    for (const block of blocks) if (this.#isUpTo(block, through)) this.#history.marks.delete(block);
  }

  #isUpTo(block: number, through: Epoch): boolean {
    return (this.#writtenIn.get(block) ?? 0) <= through;
  }
}
