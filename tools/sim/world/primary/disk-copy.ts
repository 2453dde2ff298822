import type { History } from '../../../../src/colo/disk/history/history.ts';
import { blockCount } from '../fakes/fake-guest.ts';
import { diskBlocks } from '../resync/disk-history.ts';
import type { Resync } from '../resync/resync.ts';
import type { ForwardedDisk } from './forwarded-disk.ts';
import type { PrimaryProcess } from './primary-process.ts';

/**
 * The first copy of a pairing, where the disks may differ: what both sides know of that, or everything. From then on both disks are of
 * another generation.
 */
export class DiskCopy {
  readonly #side: PrimaryProcess;
  readonly #resync: Resync | undefined;
  readonly #forwarded: ForwardedDisk;
  /** Of this pairing, and whether the standby's disk has it. */
  #generation = '';
  #isRenewed = false;
  #inStep = false;
  /** The one that is under way. */
  #copy = 0;

  /** @param resync what is known of the standby's disk, if machines remember: else all of it is copied */
  constructor(side: PrimaryProcess, resync: Resync | undefined, forwarded: ForwardedDisk) {
    this.#side = side;
    this.#resync = resync;
    this.#forwarded = forwarded;
  }

  get generation(): string {
    return this.#generation;
  }

  /** Both disks are of the generation. */
  get isRenewed(): boolean {
    return this.#isRenewed;
  }

  /** The standby's disk is equal. */
  get inStep(): boolean {
    return this.#inStep;
  }

  beginPairing(): void {
    this.#resync?.beginPairing();
    this.#generation = this.#side.world.standbyLink.newGeneration();
    this.#isRenewed = false;
  }

  begin(): void {
    const { world, guest } = this.#side;
    const resync = this.#resync;
    const copy = ++this.#copy;
    this.#inStep = false;
    if (resync === undefined) {
      this.#synchronise(copy, guest.blocks.keys());
      return;
    }
    this.#side.post({ kind: 'copy-waits', owed: 'disk-history' });
    world.standbyLink.askHistory((history) => {
      if (this.#isUnderWay(copy)) this.#meet(copy, resync, history);
    });
  }

  #meet(copy: number, resync: Resync, history: History | undefined): void {
    const { world } = this.#side;
    const kind = resync.meet(history);
    world.count(kind === 'all' ? 'copies of a whole disk' : 'copies of what may differ');
    const { left } = resync;
    if (left < diskBlocks) world.count('copies of less than a disk');
    if (left > blockCount && left < diskBlocks) world.count('copies that go on where they were');
    this.#renew(copy, resync);
  }

  /** What was written before is durable on P's disk when that becomes of the new generation, and then S's does. */
  #renew(copy: number, resync: Resync): void {
    const side = this.#side;
    const generation = this.#generation;
    side.post({ kind: 'copy-waits', owed: undefined });
    side.progress.preparing(true);
    if (side.disk.backlogMs > 0) side.world.count("copies that waited for the primary's page cache");
    side.disk.flushBacklog((error) =>
      side.process(() => {
        if (error !== undefined || !this.#isUnderWay(copy)) return;
        side.progress.preparing(false);
        side.post({ kind: 'copy-waits', owed: 'disk-generation' });
        side.history.renew(generation, resync.suspect);
        resync.renew(generation);
        side.world.standbyLink.renew(generation, () => {
          if (!this.#isUnderWay(copy)) return;
          resync.renewed(generation);
          this.#isRenewed = true;
          this.#moves();
          this.#synchronise(copy, resync.copy());
        });
      }),
    );
  }

  /** A block is sent as it is now, among the writes, as far as S's log has room. */
  #synchronise(copy: number, blocks: Iterator<number>, first?: number, isWaiting = false): void {
    const side = this.#side;
    for (let block = first ?? nextOf(blocks); block !== undefined; block = nextOf(blocks)) {
      const waits = block;
      if (side.world.resyncRules.endsCopies && !this.#isUnderWay(copy)) return;
      if (!this.#forwarded.copyMayForward) {
        if (!isWaiting) this.#forwarded.copyWaits();
        side.world.agenda.after(1, () => side.process(() => this.#synchronise(copy, blocks, waits, true)));
        return;
      }
      const value = side.guest.blocks[block] ?? (side.disk.cached[block] as number);
      this.#resync?.copies(block, value);
      side.world.count('blocks copied');
      this.#forwarded.forwardCopy(block, value);
      if (isWaiting) {
        this.#forwarded.copyHadRoom();
        this.#moves();
        // What waits meanwhile is the guest's.
        this.#forwarded.pump();
      }
      isWaiting = false;
    }
    this.#inStep = true;
    side.post({ kind: 'disks-in-step' });
  }

  #isUnderWay(copy: number): boolean {
    return copy === this.#copy && this.#side.attached && this.#side.session !== undefined;
  }

  #moves(): void {
    this.#side.post({ kind: 'copy-waits', owed: undefined });
    this.#side.progress.moved();
  }
}

function nextOf(blocks: Iterator<number>): number | undefined {
  const { done, value } = blocks.next();
  return done === true ? undefined : value;
}
