import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FileCalls } from '../host/files/file-calls.ts';
import {
  copyMemory,
  dropPages,
  isZero,
  leaveOutOfForks,
  movePages,
  populate,
  populateToRead,
} from '../host/libc/memory.ts';
import {
  AnonymousMapping,
  hugePageBytes,
  type MappingAddress,
  type MemfdMapping,
  type SharedRange,
} from '../host/mappings/mapping.ts';
import type { Closable } from '../host/ownership.ts';
import { SystemError } from '../host/system-error.ts';

/**
 * RAM over a checkpoint on its way to being RAM as any other: private memory, in huge pages where the kernel has them to give. Left
 * alone it would become twice as large as its guest writes it, in small pages. While the guest runs, a piece of one huge page at a time:
 *
 *     prepare   anything runs     memory for the piece at a place of its own
 *     move      guest is paused   its bytes go there, and its pages in place of the piece: mremap, so that disks that are at the
 *                                 piece read the one or the other, never nothing
 *     release   anything runs     the checkpoint's part is given back
 *
 * All pieces come from one mapping and lie in it as they do in RAM, so that the kernel joins them to one mapping again. Pieces of
 * zeros take no memory.
 */
export class SettlingRam implements Closable {
  readonly #ram: MappingAddress;
  readonly #checkpoint: MemfdMapping;
  readonly #place: AnonymousMapping;
  readonly #calls = new FileCalls();
  #at = 0;

  /** @param checkpoint what `ram` is mapped over, which is closed once all of it was moved */
  constructor(ram: SharedRange, checkpoint: MemfdMapping) {
    this.#ram = ram;
    this.#checkpoint = checkpoint;
    this.#place = new AnonymousMapping('settled RAM', ram.sizeBytes);
    leaveOutOfForks(this.#place.address, ram.sizeBytes);
  }

  /** Bytes that are still to be moved. */
  get leftBytes(): number {
    return this.#ram.sizeBytes - this.#at;
  }

  /** What takes long is done for the next piece before the guest is paused for it. */
  prepare(): void {
    const { from, to, length } = this.#piece;
    populateToRead(from, length);
    if (!isZero(from, length)) populate(to, length);
  }

  /** Moves the next piece, whose guest is paused. @throws SystemError, and it is where it was */
  move(): void {
    const { from, to, length } = this.#piece;
    // The guest may have written it since.
    if (isZero(from, length)) dropPages(to, length, 'settled RAM');
    else copyMemory(to, from, length);
    movePages(to, from, length, 'settled RAM');
  }

  /** After {@link move}. @throws SystemError */
  release(): void {
    const { length } = this.#piece;
    const how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const result = this.#calls.allocate(this.#checkpoint.fd, how, this.#at, length);
    this.#at += length;
    if (this.leftBytes === 0) this.#checkpoint.close();
    if (result < 0) throw new SystemError('fallocate', -result, 'checkpoint');
  }

  /** RAM was made anew between two pieces: nothing is left to be moved. */
  finish(): void {
    this.#at = this.#ram.sizeBytes;
    this.#checkpoint.close();
  }

  /** At any time: pieces that were moved are RAM's. */
  close(): void {
    this.#place.close();
  }

  get #piece(): { readonly from: number; readonly to: number; readonly length: number } {
    const length = Math.min(hugePageBytes, this.leftBytes);
    return { from: this.#ram.address + this.#at, to: this.#place.address + this.#at, length };
  }
}
