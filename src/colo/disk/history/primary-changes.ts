import { randomBytes } from 'node:crypto';
import { blockBits } from '../../../block/replicated/changed-blocks.ts';
import { logIdBytes, regionBytes } from '../../../block/replicated/region-file.ts';
import { ActivityControl, type SharedChanges } from '../../../block/replicated/shared-changes.ts';
import { EIO, ETIMEDOUT, errnoName } from '../../../host/errno.ts';
import { inTime, Patience } from '../../../vmm/thread/patience.ts';
import type { Difference } from './difference.ts';
import { type Generation, generationBytes, type History, type Suspicion } from './history.ts';
import { type HistoryDisk, type HistoryStore, stampsOf } from './history-store.ts';
import { ResyncState } from './resync-state.ts';

/** What a primary begins with: of the standby or the primary that its process was, or of an earlier process. */
export interface InheritedChanges {
  readonly shared: SharedChanges;
  readonly generation: Generation;
  /** Of a primary, here or in an earlier process: where the disks may differ from those of that generation already. */
  readonly regions?: Uint8Array;
}

/** A pairing waits so long for the state directory, and then goes on without. */
const folderPatienceMs = 3000;

/** For a machine that has these disks, and a log that is in that file. */
export function newSharedChanges(path: string, id: Uint8Array, disks: readonly HistoryDisk[]): SharedChanges {
  const sizes = disks.map(({ sizeBytes }) => sizeBytes);
  return { path, id, sizes, stamps: stampsOf(disks), control: ActivityControl.storage(), blocks: blockBits(sizes) };
}

/**
 * What P knows of its disks and how those of a standby may differ from them, from the first pairing on until its process ends: one
 * pairing after the other. What of that outlives the process is in the log and the record; where these cannot be written they are given
 * up, until a pairing begins that can write them, and the guest and its protection go on.
 */
export class PrimaryChanges {
  readonly #state: ResyncState;
  readonly #store: HistoryStore;
  readonly #blocks: Int32Array<SharedArrayBuffer>;
  readonly #disks: readonly HistoryDisk[];
  #shared: SharedChanges;
  #control: ActivityControl;
  /** Why no log is kept, where that was found out on this thread. */
  #problem: string | undefined;
  #isForgotten = false;

  private constructor(
    store: HistoryStore,
    disks: readonly HistoryDisk[],
    shared: SharedChanges,
    generations: readonly Generation[],
  ) {
    this.#store = store;
    this.#disks = disks;
    this.#shared = shared;
    this.#state = new ResyncState(shared.sizes, generations);
    this.#control = new ActivityControl(shared.control);
    this.#blocks = new Int32Array(shared.blocks);
  }

  get shared(): SharedChanges {
    return this.#shared;
  }

  get difference(): Difference {
    return this.#state.difference;
  }

  /** Of a machine whose disks nobody has watched until now. @throws Error if its disks' stamps cannot be written */
  static async begin(store: HistoryStore, disks: readonly HistoryDisk[]): Promise<PrimaryChanges> {
    const { shared, problem } = await newLog(store, disks);
    const changes = new PrimaryChanges(store, disks, shared, []);
    changes.#problem = problem;
    changes.difference.addAll();
    return changes;
  }

  /** Of a machine that has taken over, or is run anew. */
  static inherited(
    store: HistoryStore,
    disks: readonly HistoryDisk[],
    { shared, generation, regions }: InheritedChanges,
  ): PrimaryChanges {
    const changes = new PrimaryChanges(store, disks, shared, [generation]);
    if (changes.lost === undefined) store.watch();
    if (regions !== undefined) changes.#state.goOn(regions);
    return changes;
  }

  /**
   * What another primary of this process goes on with, while nothing is forwarded; undefined: it begins anew. What changes meanwhile the io
   * thread notes in {@link shared}.
   */
  get inheritance(): InheritedChanges | undefined {
    const { known } = this.#state;
    if (known === undefined || this.#problem !== undefined || this.lost !== undefined) return undefined;
    return { shared: this.#shared, ...known };
  }

  /** Why no log is kept any more; undefined: it is. What is on disk is believed by nobody then. */
  get lost(): string | undefined {
    const { lost } = this.#control;
    return lost === undefined ? undefined : (this.#problem ?? reasonOf(lost));
  }

  /** As {@link lost}, to be asked now and then: what need not be said any more of the disks is not. */
  look(): string | undefined {
    const { lost } = this;
    if (lost !== undefined && !this.#isForgotten) {
      this.#isForgotten = true;
      // Nobody believes it in any case.
      void this.#store.forget().catch(() => {});
    }
    return lost;
  }

  /** Before a pairing, while nothing is forwarded: where no log is kept, another one begins, if it can be written by now. */
  async keepAgain(): Promise<void> {
    if (this.look() === undefined) return;
    const begun = await newLog(this.#store, this.#disks).catch(() => undefined);
    if (begun === undefined || begun.problem !== undefined) return;
    // All is marked in it. What changed meanwhile is in the blocks.
    this.#shared = { ...begun.shared, blocks: this.#shared.blocks };
    this.#control = new ActivityControl(this.#shared.control);
    this.#problem = undefined;
    this.#isForgotten = false;
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
    if (this.#shared.sizes.length === 0) return true;
    const result = this.#control.flushed;
    if (result !== undefined && result < 0) throw new Error(`a disk cannot be flushed: ${errnoName(-result)}`);
    return result !== undefined;
  }

  /**
   * What differs counts from a new generation too. Before this the disks have been made durable: else a loss of power could undo what
   * was there before, and nobody marks that.
   *
   * On return it is on the disk, or no log is about to be kept any more: once it {@link isKept}, S may hear of it.
   */
  async renew(): Promise<Generation> {
    const generation = randomBytes(generationBytes).toString('hex');
    if (this.#control.lost === undefined) {
      const problem = await problemOf(this.#store.write(generation, this.#shared.id, this.#disks, this.#state.suspect));
      this.#problem = problem;
      if (problem === undefined) this.#store.watch();
      else this.#control.askToGiveUp();
    }
    this.#state.renew(generation);
    return generation;
  }

  /** What is on disk is what {@link renew} has begun, or believed by nobody. @throws Error if it can be neither */
  get isKept(): boolean {
    if (this.#problem === undefined || this.#control.lost !== undefined) return true;
    const { keptAgainst } = this.#control;
    if (keptAgainst !== undefined) {
      throw new Error(`${this.#problem}; nor can it be said beside the disks: ${errnoName(keptAgainst)}`);
    }
    return false;
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
    if (generation === undefined || this.#control.lost !== undefined) return;
    // If that cannot be written, more is compared than has to be.
    await this.#store.write(generation, this.#shared.id, this.#disks).catch(() => {});
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

/**
 * A new log, in which all is marked; nothing that was known before is believed any more. If it cannot be written it is given up already.
 *
 * @throws Error if that cannot be said beside the disks
 */
async function newLog(
  store: HistoryStore,
  disks: readonly HistoryDisk[],
): Promise<{ readonly shared: SharedChanges; readonly problem: string | undefined }> {
  const shared = newSharedChanges(store.logPath, new Uint8Array(randomBytes(logIdBytes)), disks);
  const refusal = await problemOf(store.stamp(disks, shared.id));
  if (refusal !== undefined) throw new Error(`nothing can be written beside the disks: ${refusal}`);
  const problem = await problemOf(store.forget().then(() => store.newLog(shared.id, shared.sizes, true)));
  if (problem !== undefined) new ActivityControl(shared.control).lost = EIO;
  return { shared, problem };
}

/** Why that failed, or is not done in time. */
async function problemOf(written: Promise<void>): Promise<string | undefined> {
  try {
    const done = await inTime(written, new Patience(folderPatienceMs));
    return done === undefined ? 'nothing is written in time there' : undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function reasonOf(errno: number): string {
  return errno === ETIMEDOUT ? 'nothing is written in time there' : `nothing can be written there: ${errnoName(errno)}`;
}
