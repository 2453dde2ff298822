import { changedBlockBytes, regionWords } from '../../../block/replicated/changed-blocks.ts';
import { regionBitmapBytes, regionPlaces } from '../../../block/replicated/region-file.ts';

/**
 * The blocks in which S's disks may differ from P's, as P knows it, for as long as P's process lives:
 *
 *     unsettled    may differ, and S is to be asked or sent them
 *     young, old   P wrote them, or settled them with S, and S may not have them durable
 *
 * Now and then S is asked to make durable all that it was sent: `young` is `old` from then on, and nothing of `old` is left when S has
 * done that. So a standby that is lost in any moment, with all that its disks had not made durable, differs in these blocks at most.
 *
 * Without I/O. Bits as in changed-blocks.ts.
 */
export class Difference {
  readonly sizes: readonly number[];
  readonly #first: readonly number[];
  readonly #regions: number;
  #unsettled: Uint32Array;
  #young: Uint32Array;
  #old: Uint32Array;
  #youngIsEmpty = true;
  #oldIsEmpty = true;

  /** @param sizes of the disks, in bytes */
  constructor(sizes: readonly number[]) {
    this.sizes = sizes;
    const { first, count } = regionPlaces(sizes);
    this.#first = first;
    this.#regions = count;
    const words = (): Uint32Array => new Uint32Array(count * regionWords);
    [this.#unsettled, this.#young, this.#old] = [words(), words(), words()];
  }

  /** A new standby: nothing of what was sent to the one before counts. */
  begin(): void {
    for (let word = 0; word < this.#unsettled.length; word++) {
      this.#unsettled[word] = this.#word(word);
    }
    this.#young.fill(0);
    this.#old.fill(0);
    this.#youngIsEmpty = true;
    this.#oldIsEmpty = true;
  }

  /** Nothing is known of S's disks. */
  addAll(): void {
    for (let disk = 0; disk < this.sizes.length; disk++) {
      const size = this.sizes[disk] as number;
      if (size > 0) this.#set(this.#unsettled, disk, 0, size);
    }
  }

  /** S's disks may differ there too, by regions: a bitmap as in region-file.ts. */
  addRegions(bitmap: Uint8Array): void {
    for (let region = 0; region < this.#regions; region++) {
      if ((((bitmap[region >> 3] ?? 0) >> (region & 7)) & 1) === 0) continue;
      const [disk, offset, lengthBytes] = this.#placeOf(region);
      this.#set(this.#unsettled, disk, offset, lengthBytes);
    }
  }

  /** Takes what another thread has noted, and clears it. */
  drain(shared: Int32Array<SharedArrayBuffer>): void {
    for (let word = 0; word < shared.length; word++) {
      if (shared[word] === 0) continue;
      this.#unsettled[word] = (this.#unsettled[word] as number) | Atomics.exchange(shared, word, 0);
    }
  }

  /** P wrote there, and S is sent it now, or will never be. Hot path. */
  wrote(disk: number, offset: number, lengthBytes: number): void {
    this.#set(this.#young, disk, offset, lengthBytes);
    this.#youngIsEmpty = false;
  }

  /** S's disk is equal there once it has all that was sent. */
  settle(disk: number, offset: number, lengthBytes: number): void {
    this.#each(disk, offset, lengthBytes, (word, mask) => {
      const bits = (this.#unsettled[word] as number) & mask;
      this.#unsettled[word] = (this.#unsettled[word] as number) & ~mask;
      this.#young[word] = (this.#young[word] as number) | bits;
    });
    this.#youngIsEmpty = false;
  }

  /** True: S is to make durable all that it was sent until now; then {@link durable}. */
  askDurable(): boolean {
    if (this.#youngIsEmpty || !this.#oldIsEmpty) return false;
    [this.#old, this.#young] = [this.#young, this.#old];
    this.#youngIsEmpty = true;
    this.#oldIsEmpty = false;
    return true;
  }

  /** S has. */
  durable(): void {
    if (this.#oldIsEmpty) return;
    this.#old.fill(0);
    this.#oldIsEmpty = true;
  }

  /** Bytes of what S is to be asked or sent. */
  get unsettledBytes(): number {
    return changedBlockBytes * countBits(this.#unsettled);
  }

  /** Blocks that may differ in any way. */
  get blocks(): number {
    let count = 0;
    for (let word = 0; word < this.#unsettled.length; word++) {
      count += bitsOf(this.#word(word));
    }
    return count;
  }

  /** As {@link blocks}, of the regions of that bitmap alone. */
  blocksIn(bitmap: Uint8Array): number {
    let count = 0;
    for (let word = 0; word < this.#unsettled.length; word++) {
      const region = Math.floor(word / regionWords);
      if ((((bitmap[region >> 3] ?? 0) >> (region & 7)) & 1) !== 0) count += bitsOf(this.#word(word));
    }
    return count;
  }

  /** Regions with blocks that may differ in any way, a bitmap as in region-file.ts. */
  get regions(): Uint8Array {
    const bitmap = new Uint8Array(regionBitmapBytes(this.#regions));
    for (let word = 0; word < this.#unsettled.length; word++) {
      const region = Math.floor(word / regionWords);
      if (this.#word(word) !== 0) bitmap[region >> 3] = (bitmap[region >> 3] as number) | (1 << (region & 7));
    }
    return bitmap;
  }

  /**
   * 16 bits for the blocks of 64 KiB of a disk: those that are not settled, the lowest the first one.
   *
   * @param place number of the 64 KiB on the disk
   */
  unsettledIn(disk: number, place: number): number {
    const word = (this.#first[disk] as number) * regionWords + (place >> 1);
    return ((this.#unsettled[word] as number) >>> (16 * (place & 1))) & 0xffff;
  }

  /** The first piece of 64 KiB of a disk from `place` on of which something is not settled; undefined: there is none. */
  nextUnsettled(disk: number, place: number): number | undefined {
    const count = Math.ceil((this.sizes[disk] as number) / (16 * changedBlockBytes));
    const base = (this.#first[disk] as number) * regionWords;
    for (let at = place; at < count; at++) {
      if (this.#unsettled[base + (at >> 1)] === 0) {
        // Nothing in both halves.
        at |= 1;
        continue;
      }
      if (this.unsettledIn(disk, at) !== 0) return at;
    }
    return undefined;
  }

  #word(word: number): number {
    return (this.#unsettled[word] as number) | (this.#young[word] as number) | (this.#old[word] as number);
  }

  #placeOf(region: number): [disk: number, offset: number, lengthBytes: number] {
    let disk = this.sizes.length - 1;
    while ((this.#first[disk] as number) > region || this.sizes[disk] === 0) disk--;
    const bytes = regionWords * 32 * changedBlockBytes;
    const offset = (region - (this.#first[disk] as number)) * bytes;
    return [disk, offset, Math.min(bytes, (this.sizes[disk] as number) - offset)];
  }

  #set(words: Uint32Array, disk: number, offset: number, lengthBytes: number): void {
    this.#each(disk, offset, lengthBytes, (word, mask) => {
      words[word] = (words[word] as number) | mask;
    });
  }

  #each(disk: number, offset: number, lengthBytes: number, act: (word: number, mask: number) => void): void {
    const base = (this.#first[disk] as number) * regionWords * 32;
    let block = base + Math.floor(offset / changedBlockBytes);
    const end = base + Math.ceil((offset + lengthBytes) / changedBlockBytes);
    while (block < end) {
      const bit = block & 31;
      const count = Math.min(32 - bit, end - block);
      act(block >>> 5, count === 32 ? -1 : ((1 << count) - 1) << bit);
      block += count;
    }
  }
}

function countBits(words: Uint32Array): number {
  let count = 0;
  for (let word = 0; word < words.length; word++) count += bitsOf(words[word] as number);
  return count;
}

function bitsOf(word: number): number {
  let left = word - ((word >>> 1) & 0x55555555);
  left = (left & 0x33333333) + ((left >>> 2) & 0x33333333);
  return (((left + (left >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}
