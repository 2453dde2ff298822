import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FileCalls } from '../host/file-calls.ts';
import type { MemorySlot } from '../host/kvm/vm.ts';
import { MemfdMapping, PrivateFileMapping } from '../host/mapping.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import { SystemError } from '../host/system-error.ts';
import { pageSize } from './address.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';
import type { SlottedRam } from './dirty-tracker.ts';
import type { GuestMemory } from './guest-memory.ts';
import { MappedBytes } from './mapped-bytes.ts';
import { type SharedRam, shareRam, slotsOf, viewRam } from './ram.ts';

/**
 * RAM of a guest that can go back: the last checkpoint, and what the guest has made of it since.
 *
 *     checkpoint   a memfd            the pages as they were committed
 *     running      MAP_PRIVATE of it  the same pages, until the guest or this process writes one: that one is a copy
 *
 * So a guest costs its checkpoint and the pages that it wrote since, not two copies of RAM. The next checkpoint is
 * {@link rollBack} with every page written here, then {@link write} and {@link zero} with every page that differs in it.
 * In this order: where there is a copy, the running guest does not see what is written to the checkpoint.
 *
 * Pages are counted in RAM without the hole. The guest must stand still.
 */
export class CheckpointedMemory implements Closable, SlottedRam {
  /** The running guest's RAM. */
  readonly memory: GuestMemory;
  readonly shared: SharedRam;
  readonly #checkpoint: MemfdMapping;
  readonly #checkpointBytes: MappedBytes;
  readonly #running: PrivateFileMapping;
  readonly #calls = new FileCalls();
  readonly #owner = new Owner();

  /** @param sizeBytes a multiple of the page size */
  constructor(sizeBytes: number) {
    if (sizeBytes % pageSize !== 0) throw new RangeError(`RAM of ${sizeBytes} bytes is not a whole number of pages`);
    try {
      this.#checkpoint = this.#owner.own(new MemfdMapping('checkpoint', sizeBytes));
      this.#checkpointBytes = new MappedBytes(this.#checkpoint.address, sizeBytes);
      this.#running = this.#owner.own(new PrivateFileMapping('guest RAM', this.#checkpoint.fd, 0, sizeBytes));
      this.shared = shareRam(this.#running.address, sizeBytes);
      this.memory = viewRam(this.shared);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** The regions as KVM's memory slots: slot n is region n. */
  get slots(): MemorySlot[] {
    return slotsOf(this.memory);
  }

  /**
   * Takes back what was written to the pages marked in `dirty`, a bitmap for each region: they are the checkpoint's
   * again. A page that was not written may be marked.
   */
  rollBack(dirty: readonly DirtyBitmap[]): void {
    for (const [index, region] of this.memory.regions.entries()) {
      const bitmap = dirty[index];
      if (bitmap === undefined) continue;
      for (let page = bitmap.nextMarked(0); page < bitmap.pages; ) {
        const end = bitmap.nextClean(page);
        this.#running.revert(region.offset + page * pageSize, (end - page) * pageSize);
        page = bitmap.nextMarked(end);
      }
    }
  }

  /** Writes whole pages, from `firstPage` on, into the checkpoint. @throws RangeError outside of RAM */
  write(firstPage: number, bytes: Uint8Array): void {
    if (bytes.length % pageSize !== 0) throw new RangeError(`${bytes.length} bytes are not whole pages`);
    this.#checkpointBytes.slice(firstPage * pageSize, bytes.length).set(bytes);
  }

  /** Makes pages of the checkpoint zero, which cost nothing from then on. @throws RangeError outside of RAM */
  zero(firstPage: number, pages: number): void {
    if (!(firstPage >= 0 && pages >= 0 && (firstPage + pages) * pageSize <= this.#checkpoint.sizeBytes)) {
      throw new RangeError(`pages [${firstPage}, +${pages}) are not in RAM of ${this.#checkpoint.sizeBytes} bytes`);
    }
    if (pages === 0) return;
    const how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const result = this.#calls.allocate(this.#checkpoint.fd, how, firstPage * pageSize, pages * pageSize);
    if (result < 0) throw new SystemError('fallocate', -result, 'checkpoint');
  }

  close(): void {
    this.#owner.close();
  }
}
