import { randomBytes } from 'node:crypto';
import { ActivityControl, type SharedChanges } from '../../../block/replicated/activity-log.ts';
import { blockBits } from '../../../block/replicated/changed-blocks.ts';
import { regionBytes } from '../../../block/replicated/region-file.ts';
import { errnoName } from '../../../host/errno.ts';
import type { Difference } from './difference.ts';
import { type Generation, generationBytes, type History, type Suspicion } from './history.ts';
import type { HistoryDisk, HistoryStore } from './history-store.ts';
import { ResyncState } from './resync-state.ts';

/** What a primary begins with: of the standby that its process was, or of an earlier process. */
export interface InheritedChanges {
  readonly shared: SharedChanges;
  readonly generation: Generation;
  /** Of an earlier process: where the disks may differ from those of that generation already. */
  readonly regions?: Uint8Array;
}

/** For a machine whose disks have these sizes, and a log that is in that file. */
export function newSharedChanges(path: string, id: Uint8Array, sizes: readonly number[]): SharedChanges {
  return { path, id, sizes, control: ActivityControl.storage(), blocks: blockBits(sizes) };
}

/**
 * What P knows of its disks and how those of a standby may differ from them, from the first pairing on until its process ends: one
 * pairing after the other.
 */
export class PrimaryChanges {
  readonly shared: SharedChanges;
  readonly #state: ResyncState;
  readonly #store: HistoryStore;
  readonly #control: ActivityControl;
  readonly #blocks: Int32Array<SharedArrayBuffer>;
  #disks: readonly HistoryDisk[] = [];

  private constructor(store: HistoryStore, shared: SharedChanges, generations: readonly Generation[]) {
    this.#store = store;
    this.shared = shared;
    this.#state = new ResyncState(shared.sizes, generations);
    this.#control = new ActivityControl(shared.control);
    this.#blocks = new Int32Array(shared.blocks);
  }

  get difference(): Difference {
    return this.#state.difference;
  }

  /** Of a machine whose disks nobody has watched until now. @throws Error if the log cannot be written */
  static async begin(store: HistoryStore, sizes: readonly number[]): Promise<PrimaryChanges> {
    await store.forget();
    const id = await store.newLog(sizes, true);
    const changes = new PrimaryChanges(store, newSharedChanges(store.logPath, id, sizes), []);
    changes.difference.addAll();
    return changes;
  }

  /** Of a machine that has taken over, or is run anew. */
  static inherited(store: HistoryStore, { shared, generation, regions }: InheritedChanges): PrimaryChanges {
    store.watch();
    const changes = new PrimaryChanges(store, shared, [generation]);
    if (regions !== undefined) changes.#state.goOn(regions);
    return changes;
  }

  /** A pairing begins; the io thread counts epochs anew when it hears of it. */
  beginPairing(): void {
    this.#control.through = -1;
    this.difference.begin();
  }

  /** The io thread hands changes on from now on: what it noted before is taken. */
  forwarded(): void {
    this.difference.drain(this.#blocks);
  }

  /** S knows this of its disks. */
  meet(theirs: History | undefined): Suspicion {
    return this.#state.meet(theirs);
  }

  /** Has the io thread, which is to be woken, make the disks durable as they are. */
  flush(): void {
    this.#control.askFlush();
  }

  /** It has. @throws Error if a disk cannot be flushed */
  get isFlushed(): boolean {
    if (this.shared.sizes.length === 0) return true;
    const result = this.#control.flushed;
    if (result !== undefined && result < 0) throw new Error(`a disk cannot be flushed: ${errnoName(-result)}`);
    return result !== undefined;
  }

  /**
   * What differs counts from a new generation too. Before this the disks have been made durable: else a loss of power could undo what
   * was there before, and nobody marks that.
   *
   * On return it is on the disk, and S may hear of it.
   *
   * @throws Error if it cannot be written
   */
  async renew(disks: readonly HistoryDisk[]): Promise<Generation> {
    const generation = randomBytes(generationBytes).toString('hex');
    await this.#store.write(generation, this.shared.id, disks, this.#state.suspect);
    this.#disks = disks;
    this.#store.watch();
    this.#state.renew(generation);
    return generation;
  }

  /** S has it on its disk: what is settled from now on is so for that generation alone. */
  renewed(): void {
    this.#state.renewed();
  }

  /** All of the epochs up to this one is durable on S's disks. */
  durable(through: number): void {
    this.#control.through = through;
    this.#control.sweep();
  }

  /** S has made durable all that it was sent once its disks were equal: it differs nowhere because of what it did itself. */
  async settled(): Promise<void> {
    const generation = this.#state.settled();
    if (generation === undefined) return;
    // If that cannot be written, more is compared than has to be.
    await this.#store.write(generation, this.shared.id, this.#disks).catch(() => {});
  }

  /** There are marks of epochs before the one that is open, of which it is not known whether S has them durable. */
  isBehind(open: number): boolean {
    return this.#control.marked > 0 && this.#control.through < open - 1;
  }

  /** Of regions that are marked. */
  get markedBytes(): number {
    return this.#control.marked * regionBytes;
  }

  /** Has the io thread look which marks can go, if there are any. True: it is to be woken. */
  sweep(): boolean {
    if (this.#control.marked === 0 || this.#control.through < 0) return false;
    this.#control.sweep();
    return true;
  }
}
