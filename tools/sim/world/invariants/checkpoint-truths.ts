import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { blockCount, type FakeGuest, hashOf } from '../fakes/fake-guest.ts';
import { Violation } from './violation.ts';

/** What was true at P's stop: what S must be equal to (spec C.4). */
export interface Truth {
  readonly ram: number;
  readonly state: number;
  readonly blocks: readonly number[];
  /** How many answers the guest had given. */
  readonly answers: number;
  /** The hash of each, and of those that it gave later: a guest adds to it, and never changes one. */
  readonly said: readonly number[];
  readonly at: number;
}

/** P's machine at each checkpoint, as an onlooker knows it: C.3 and C.4 are checked by it. */
export class CheckpointTruths {
  readonly #now: () => number;
  readonly #count: (what: string) => void;
  readonly #truths = new Map<Epoch, Truth>();
  /** When the primary's guest was reset last, until a checkpoint covers it. */
  resetAt: number | undefined;

  constructor(now: () => number, count: (what: string) => void) {
    this.#now = now;
    this.#count = count;
  }

  at(epoch: Epoch): Truth | undefined {
    return this.#truths.get(epoch);
  }

  /** What the guest had said at this checkpoint. */
  saidAt(epoch: Epoch): number[] {
    const truth = this.#truths.get(epoch);
    return truth === undefined ? [] : truth.said.slice(0, truth.answers);
  }

  /** The guest had given this answer by this checkpoint. */
  hadSaid(epoch: Epoch, index: number, hash: number): boolean {
    const truth = this.#truths.get(epoch);
    return truth !== undefined && index < truth.answers && truth.said[index] === hash;
  }

  wasReset(): void {
    this.resetAt = this.#now();
  }

  /** P's guest is stopped for a checkpoint; the first one of a standby is 0. */
  captured(epoch: Epoch, guest: FakeGuest, state: readonly number[], disk: readonly number[]): void {
    if (epoch === 0) this.#truths.clear();
    this.resetAt = undefined;
    this.#truths.set(epoch, {
      ram: hashOf(guest.pages),
      state: hashOf(state),
      blocks: [...guest.blocks, ...disk.slice(blockCount)],
      answers: guest.answers,
      said: guest.said,
      at: this.#now(),
    });
  }

  /** C.4: S's RAM, device state and disk equal P's at the stop. */
  checkEqual(epoch: Epoch, ram: readonly number[], state: readonly number[], disk: readonly number[]): void {
    const truth = this.#truths.get(epoch);
    if (truth === undefined) throw new Violation('C.4', `the secondary stands at checkpoint ${epoch}, which never was`);
    if (hashOf(ram) !== truth.ram) throw new Violation('C.4', `RAM of checkpoint ${epoch} is not the primary's`);
    if (hashOf(state) !== truth.state)
      throw new Violation('C.4', `device state of checkpoint ${epoch} is not the primary's`);
    this.#checkDisk(epoch, truth, disk);
    this.#count('checkpoints equal');
  }

  /** B.13: S leaves with the guest's last checkpoint on its disk, though nobody needs the rest of it any more. */
  checkLeft(epoch: Epoch, disk: readonly number[]): void {
    const truth = this.#truths.get(epoch);
    if (truth === undefined)
      throw new Violation('B.13', `the secondary leaves at checkpoint ${epoch}, which never was`);
    this.#checkDisk(epoch, truth, disk);
    this.#count('standbys that left with the last checkpoint');
  }

  #checkDisk(epoch: Epoch, truth: Truth, disk: readonly number[]): void {
    if (disk.some((value, block) => value !== truth.blocks[block])) {
      throw new Violation('C.3', `the disk at checkpoint ${epoch} is not the primary's`);
    }
  }
}
