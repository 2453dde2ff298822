import { type BigIntStats, statSync } from 'node:fs';
import type { Closable } from '../../host/ownership.ts';
import type { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { longestChain } from './snapshot-format.ts';
import type { SnapshotBase } from './snapshot-tail.ts';

/** Tells which pages changed. */
export interface PageTracker extends Closable {
  emptyBitmaps(): DirtyBitmap[];
  collect(dirty: readonly DirtyBitmap[]): readonly DirtyBitmap[];
}

/** A snapshot, and how its file is told from another one of that name. */
interface ChainLink extends SnapshotBase {
  readonly device: bigint;
  readonly inode: bigint;
  /** The number of an inode that was removed is given to another one, often at once. */
  readonly writtenAtNs: bigint;
}

/**
 * Incremental snapshots of one machine that build on each other, and what changed since the last one of them, whatever
 * became of attempts to take another one.
 */
export class SnapshotChain implements Closable {
  #links: readonly ChainLink[] = [];
  readonly #tracker: PageTracker;
  readonly #memory: GuestMemory;
  /** Changes that no snapshot has, besides those that the tracker has not been asked for yet. */
  #pending: DirtyBitmap[];

  constructor(machine: { readonly ram: { readonly memory: GuestMemory }; trackDirtyPages(): PageTracker }) {
    this.#memory = machine.ram.memory;
    this.#tracker = machine.trackDirtyPages();
    this.#pending = this.#tracker.emptyBitmaps();
  }

  /**
   * The snapshot that the next one may hold the changes since. None if there has been none, if one of the chain is not
   * where it was any more, or if it has become long: then a new chain begins.
   */
  get base(): SnapshotBase | undefined {
    if (this.#links.length >= longestChain || !this.#links.every(isThere)) return undefined;
    return this.#links.at(-1);
  }

  /** Whether a snapshot of the chain is what is at `path`, by whatever way that leads there. */
  holds(path: string): boolean {
    return this.#links.some((link) => isThere({ ...link, path }));
  }

  /** The pages to write first: all, or those that changed. */
  first(all: boolean): DirtyBitmap[] {
    this.next();
    const pages = this.#tracker.emptyBitmaps();
    for (const [index, bitmap] of pages.entries()) {
      if (all) bitmap.markBytes(0, this.#memory.regions[index]?.sizeBytes ?? 0);
      else bitmap.unite(this.#pending[index] as DirtyBitmap);
    }
    return pages;
  }

  /** What changed since this was last called. */
  next(): DirtyBitmap[] {
    const dirty = this.#tracker.emptyBitmaps();
    this.#tracker.collect(dirty);
    for (const [index, bitmap] of dirty.entries()) this.#pending[index]?.unite(bitmap);
    return dirty;
  }

  /** A snapshot with this base has it all. What changed since the machine went on is with the tracker. */
  wasWritten({ id, path }: SnapshotBase, base: SnapshotBase | undefined): void {
    const { dev: device, ino: inode, mtimeNs: writtenAtNs } = statSync(path, { bigint: true });
    this.#links = [...(base === undefined ? [] : this.#links), { id, path, device, inode, writtenAtNs }];
    this.#pending = this.#tracker.emptyBitmaps();
  }

  close(): void {
    this.#tracker.close();
  }
}

function isThere({ path, device, inode, writtenAtNs }: ChainLink): boolean {
  let stat: BigIntStats | undefined;
  try {
    stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return false;
  }
  return stat?.dev === device && stat.ino === inode && stat.mtimeNs === writtenAtNs;
}
