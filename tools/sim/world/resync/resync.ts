import { blockBits, setShared } from '../../../../src/block/replicated/changed-blocks.ts';
import type { Generation, History, Suspicion } from '../../../../src/colo/disk/history/history.ts';
import { ResyncState } from '../../../../src/colo/disk/history/resync-state.ts';
import { SyncPlan } from '../../../../src/colo/disk/sync-plan.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { Violation } from '../invariants/violation.ts';
import { diskBlocks, diskSizes, isInRegions, placeOf, type ResyncRules } from './disk-history.ts';

/**
 * What a primary's process knows of its standby's disk: the product's ResyncState, and an onlooker who remembers what the standby said
 * to have durable. That it must not be sent again, whatever becomes of the copy.
 */
export class Resync {
  readonly #state: ResyncState;
  readonly #rules: ResyncRules;
  readonly #noted = new Int32Array(blockBits(diskSizes));
  /** The generation that the last standby said to have written down, and the value of each block that it said to have durable since. */
  #last: Generation | undefined;
  readonly #told = new Map<number, number>();
  /** As it was when this pairing began. */
  #before: ReadonlyMap<number, number> = new Map();
  /** Blocks that were sent in this pairing; and what of it the standby was asked to make durable. */
  #sent = new Map<number, number>();
  #asked: { readonly epoch: Epoch; readonly sent: ReadonlyMap<number, number> } | undefined;
  #theirs: History | undefined;
  #isSame = false;
  #copied: { readonly block: number; readonly value: number } | undefined;

  /** @param generation of the disk, if it was a standby's until now. */
  constructor(rules: ResyncRules, generation: Generation | undefined) {
    this.#rules = rules;
    this.#state = new ResyncState(diskSizes, generation === undefined ? [] : [generation]);
  }

  get suspect(): Uint8Array {
    return this.#state.suspect;
  }

  /** A write that nobody is sent. */
  note(block: number): void {
    // A request that was in flight is made again, with the same value.
    this.#told.delete(block);
    setShared(this.#noted, 0, ...placeOf(block));
  }

  /** The guest writes a block, and it goes to the standby. */
  sends(block: number, value: number): void {
    this.#told.delete(block);
    this.#state.difference.wrote(0, ...placeOf(block));
    this.#sent.set(block, value);
  }

  beginPairing(): void {
    const { difference } = this.#state;
    if (!this.#rules.keepsUnconfirmed) {
      for (let times = 0; times < 2; times++) {
        difference.askDurable();
        difference.durable();
      }
    }
    difference.begin();
    difference.drain(this.#noted);
    this.#asked = undefined;
    this.#sent = new Map();
  }

  /** @throws Violation if a standby that was in step is to be copied everything */
  meet(theirs: History | undefined): Suspicion['kind'] {
    this.#theirs = theirs;
    this.#before = new Map(this.#told);
    this.#isSame = theirs !== undefined && theirs.generation === this.#last;
    const nothing = theirs && { ...theirs, regions: theirs.regions.map(() => 0) };
    const { kind } = this.#state.meet(this.#rules.heedsTheirs ? theirs : nothing);
    if (!this.#rules.goesOn) this.#state.difference.addAll();
    if (this.#isSame && kind === 'all') throw new Violation('B.7', 'a standby that comes back is copied everything');
    return kind;
  }

  /** The new generation is on this side's disk. */
  renew(generation: Generation): void {
    this.#state.renew(generation);
  }

  /** And on the standby's. */
  renewed(generation: Generation): void {
    this.#state.renewed();
    if (!this.#isSame) this.#told.clear();
    this.#last = generation;
  }

  /** Blocks to be copied, in the product's order; each counts as settled when the next range is asked for. */
  *copy(): Generator<number> {
    const { difference } = this.#state;
    const plan = new SyncPlan(difference, 0);
    for (let range = plan.next(); range !== undefined; range = plan.next()) {
      for (let block = 0; block < diskBlocks; block++) {
        const [offset] = placeOf(block);
        if (offset < range.offset || offset >= range.offset + range.lengthBytes) continue;
        // A block is the first one of its 64 KiB.
        if (!this.#isUnsettled(block)) continue;
        this.#copied = undefined;
        yield block;
      }
      plan.settled(range);
      // Not before: whatever is asked to be made durable meanwhile does not count for it.
      const copied = this.#copied as { readonly block: number; readonly value: number } | undefined;
      if (copied !== undefined) this.#sent.set(copied.block, copied.value);
      this.#copied = undefined;
    }
  }

  /** Blocks that are to be copied. */
  get left(): number {
    return Array.from({ length: diskBlocks }, (_, block) => this.#isUnsettled(block)).filter(Boolean).length;
  }

  /** A block is copied with this value. @throws Violation if the standby has said that it has that durable */
  copies(block: number, value: number): void {
    this.#copied = { block, value };
    if (!this.#isSame || this.#before.get(block) !== value) return;
    if (this.#theirs !== undefined && isInRegions(this.#theirs.regions, block)) return;
    throw new Violation('B.7', `block ${block} is copied again, which the standby has durable`);
  }

  #isUnsettled(block: number): boolean {
    return (this.#state.difference.unsettledIn(0, Math.floor(placeOf(block)[0] / 65536)) & 1) !== 0;
  }

  /** The standby is to make durable what it was sent. */
  ask(epoch: Epoch): boolean {
    if (this.#asked !== undefined || !this.#state.difference.askDurable()) return false;
    // What is written amid a copy that has not come there yet is to be copied all the same: no write says that it was all of a block.
    const sent = new Map([...this.#sent].filter(([block]) => !this.#isUnsettled(block)));
    this.#asked = { epoch, sent };
    this.#sent = new Map();
    return true;
  }

  durable(epoch: Epoch): void {
    if (this.#asked?.epoch !== epoch) return;
    for (const [block, value] of this.#asked.sent) this.#told.set(block, value);
    this.#asked = undefined;
    this.#state.difference.durable();
  }

  /** A broken rule: all that was sent counts as durable there. */
  believe(): void {
    this.#state.difference.askDurable();
    this.#state.difference.durable();
  }

  /** It was equal, and has made durable all of it. True: that is to be written down. */
  settled(): boolean {
    return this.#state.settled() !== undefined;
  }
}
