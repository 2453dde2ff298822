/** Disks are copied in blocks of so many bytes. */
export const backupBlockBytes = 256 * 1024;

/** A block of a disk, which somebody copies. */
export interface BackupBlock {
  readonly disk: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** A change that waits until the bytes that it replaces are copied. */
interface HeldBack {
  readonly disk: number;
  /** Blocks [first, end) of it are not copied yet, as far as it is known. */
  first: number;
  readonly end: number;
  readonly since: number;
  go(): void;
}

interface DiskBlocks {
  readonly sizeBytes: number;
  readonly count: number;
  /** A bit a block. */
  readonly copied: Uint8Array;
}

/**
 * Disks as they are at one moment, while they are copied and changed: no block is changed before it is copied, and blocks for which a
 * change waits are copied first. Memory: a bit a block, and the changes that are being laid down.
 */
export class PointInTime {
  readonly #disks: readonly DiskBlocks[];
  readonly #held: HeldBack[] = [];
  /** Blocks that somebody copies, as `disk:block`. */
  readonly #taken = new Set<string>();
  /** Where the copy is, in order. */
  #at = { disk: 0, block: 0 };
  #isOver = false;
  readonly totalBytes: number;
  #copiedBytes = 0;

  /** @param sizes of the disks, bytes */
  constructor(sizes: readonly number[]) {
    this.#disks = sizes.map((sizeBytes) => {
      const count = Math.ceil(sizeBytes / backupBlockBytes);
      return { sizeBytes, count, copied: new Uint8Array(Math.ceil(count / 8)) };
    });
    this.totalBytes = sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0);
  }

  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /** Since when the change waits that has waited longest; undefined: none does. */
  get waitsSince(): number | undefined {
    return this.#held[0]?.since;
  }

  /** True: the change has to wait, and `go` is called once it need not. */
  holdsBack(disk: number, offset: number, lengthBytes: number, now: number, go: () => void): boolean {
    if (this.#isOver) return false;
    const end = Math.ceil((offset + lengthBytes) / backupBlockBytes);
    const held = { disk, first: Math.floor(offset / backupBlockBytes), end, since: now, go };
    if (this.#mayGo(held)) return false;
    this.#held.push(held);
    return true;
  }

  /** A block to copy, which nobody else does; undefined: there is none, for now or at all. */
  next(): BackupBlock | undefined {
    if (this.#isOver) return undefined;
    for (const { disk, first, end } of this.#held) {
      const found = this.#take(disk, first, end);
      if (found !== undefined) return found;
    }
    for (let disk = this.#disks[this.#at.disk]; disk !== undefined; disk = this.#disks[this.#at.disk]) {
      const found = this.#take(this.#at.disk, this.#at.block, disk.count);
      if (found !== undefined) {
        this.#at.block = found.offset / backupBlockBytes + 1;
        return found;
      }
      this.#at = { disk: this.#at.disk + 1, block: 0 };
    }
    return undefined;
  }

  /** The block's bytes are in hand: who waits for it may go. */
  copied({ disk, offset, lengthBytes }: BackupBlock): void {
    const block = offset / backupBlockBytes;
    const { copied } = this.#disks[disk] as DiskBlocks;
    copied[block >> 3] = (copied[block >> 3] as number) | (1 << (block & 7));
    this.#taken.delete(`${disk}:${block}`);
    this.#copiedBytes += lengthBytes;
    this.#letGo((held) => this.#mayGo(held));
  }

  /** Nobody copies any more: nobody waits. */
  end(): void {
    this.#isOver = true;
    this.#letGo(() => true);
  }

  #letGo(may: (held: HeldBack) => boolean): void {
    const free = this.#held.filter(may);
    if (free.length === 0) return;
    const stay = this.#held.filter((held) => !free.includes(held));
    this.#held.splice(0, this.#held.length, ...stay);
    for (const { go } of free) go();
  }

  #mayGo(held: HeldBack): boolean {
    const { copied } = this.#disks[held.disk] as DiskBlocks;
    while (held.first < held.end && isSet(copied, held.first)) held.first++;
    return held.first >= held.end;
  }

  #take(disk: number, first: number, end: number): BackupBlock | undefined {
    const { copied, sizeBytes } = this.#disks[disk] as DiskBlocks;
    for (let block = first; block < end; block++) {
      const name = `${disk}:${block}`;
      if (isSet(copied, block) || this.#taken.has(name)) continue;
      this.#taken.add(name);
      const offset = block * backupBlockBytes;
      return { disk, offset, lengthBytes: Math.min(backupBlockBytes, sizeBytes - offset) };
    }
    return undefined;
  }
}

function isSet(bits: Uint8Array, at: number): boolean {
  return ((bits[at >> 3] as number) & (1 << (at & 7))) !== 0;
}
