import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FileCalls } from '../host/files/file-calls.ts';
import type { MemorySlot } from '../host/kvm/vm.ts';
import { copyMemory } from '../host/libc/memory.ts';
import { MemfdMapping, SharedRange } from '../host/mappings/mapping.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import { SystemError } from '../host/system-error.ts';
import { pageSize } from './address.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { GuestRam, SharedRam } from './guest-ram.ts';
import { movedRam, shareRam, slotsOf, viewRam } from './ram.ts';
import { SettlingRam } from './settling-ram.ts';
import type { StagingArea } from './staging-area.ts';
import { WindowedBytes } from './windowed-bytes.ts';

/** Where a checkpoint's RAM lies in this process. */
export type CheckpointPages = Pick<SharedRam, 'address' | 'regions'>;

/**
 * RAM of a guest that can go back: the last checkpoint, and what the guest has made of it since.
 *
 *     checkpoint   a memfd            the pages as they were committed
 *     running      MAP_PRIVATE of it  the same pages, until the guest or this process writes one: that one is a copy
 *
 * So a guest costs its checkpoint and the pages that it wrote, not two copies of RAM. A roll-back fills the copies again
 * instead of dropping them, for the guest will write most of them again soon; when they are many, it drops them all at
 * once. Why: docs/decisions.md, Memory.
 *
 * The next checkpoint is {@link write} and {@link zero} with every page that differs in it, and {@link rollBack} with
 * every page that was written here. In this order each page is copied once; the other order is as right. The guest must
 * be paused. Pages are counted in RAM without the hole.
 */
export class CheckpointedMemory implements GuestRam {
  /** The running guest's RAM. */
  readonly memory: GuestMemory;
  shared: SharedRam;
  readonly #mostCopies: number;
  readonly #checkpoint: MemfdMapping;
  readonly #checkpointBytes: WindowedBytes;
  #running: SharedRange;
  /** Pages of which there is a copy, apart from those written since the last roll-back. */
  readonly #copies: DirtyBitmap;
  readonly #calls = new FileCalls();
  readonly #owner = new Owner();
  #settling: SettlingRam | undefined;
  /** What runs is not made of the checkpoint any more. */
  #isAnew = false;

  /**
   * @param sizeBytes a multiple of the page size
   * @param mostCopies pages of which a roll-back leaves copies
   */
  constructor(sizeBytes: number, mostCopies = sizeBytes / pageSize / 8) {
    if (sizeBytes % pageSize !== 0) throw new RangeError(`RAM of ${sizeBytes} bytes is not a whole number of pages`);
    this.#mostCopies = mostCopies;
    this.#copies = new DirtyBitmap(sizeBytes / pageSize);
    try {
      this.#checkpoint = this.#owner.own(new MemfdMapping('checkpoint', sizeBytes));
      this.#checkpointBytes = WindowedBytes.ofMapping(this.#checkpoint.address, sizeBytes);
      this.#running = this.#owner.own(new SharedRange('guest RAM', sizeBytes));
      this.#running.mapFile('private', this.#checkpoint.fd, 0);
      this.shared = shareRam(this.#running);
      this.memory = viewRam(this.shared);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** Where the checkpoint's pages lie, for another thread that writes them; what it wrote is then {@link wrote}. */
  get checkpoint(): CheckpointPages {
    return { address: this.#checkpoint.address, regions: this.shared.regions };
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
    this.memory.regions.forEach((region, index) => {
      dirty[index]?.forEachRun((page, pages) => {
        this.#copies.markBytes(region.offset + page * pageSize, pages * pageSize);
      });
    });
    if (this.#copies.count > this.#mostCopies) {
      this.#running.revert(0, this.#running.sizeBytes);
      this.#copies.clear();
      return;
    }
    this.memory.regions.forEach((region, index) => {
      dirty[index]?.forEachRun((page, pages) => {
        const offset = region.offset + page * pageSize;
        copyMemory(this.#running.address + offset, this.#checkpoint.address + offset, pages * pageSize);
      });
    });
  }

  /** Writes whole pages, from `firstPage` on, into the checkpoint. @throws RangeError outside of RAM */
  write(firstPage: number, bytes: Uint8Array): void {
    if (bytes.length % pageSize !== 0) throw new RangeError(`${bytes.length} bytes are not whole pages`);
    this.#checkpointBytes.slice(firstPage * pageSize, bytes.length).set(bytes);
    this.#refreshCopies(firstPage, bytes.length / pageSize);
  }

  /** The staged pages become the checkpoint's. Pages that the guest wrote are to be rolled back as well: {@link rollBack}. */
  load(staged: StagingArea): void {
    staged.forEachRun((place, firstNumber, pages) => {
      this.#requirePages(firstNumber, pages);
      staged.copyOut(place, this.#checkpoint.address + firstNumber * pageSize, pages);
      this.#refreshCopies(firstNumber, pages);
    });
  }

  /** Pages of the checkpoint were written where {@link checkpoint} says: those marked, counted without the hole. */
  wrote(pages: DirtyBitmap): void {
    pages.forEachRun((first, count) => this.#refreshCopies(first, count));
  }

  /** Makes pages of the checkpoint zero, which cost nothing until they are touched. @throws RangeError outside of RAM */
  zero(firstPage: number, pages: number): void {
    this.#requirePages(firstPage, pages);
    if (pages === 0) return;
    const how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const result = this.#calls.allocate(this.#checkpoint.fd, how, firstPage * pageSize, pages * pageSize);
    if (result < 0) throw new SystemError('fallocate', -result, 'checkpoint');
    this.#refreshCopies(firstPage, pages);
  }

  /**
   * It never goes back again: has it become RAM as any other. Nothing but {@link clear}, {@link move} and {@link close} is called
   * afterwards.
   */
  settle(): SettlingRam {
    this.#settling = new SettlingRam(this.#running, this.#checkpoint);
    if (this.#isAnew) this.#settling.finish();
    return this.#settling;
  }

  /** Of a guest that never goes back again: there is no checkpoint afterwards. As {@link move}. */
  clear(): void {
    this.#running.zero();
    this.#leaveCheckpoint();
    this.memory.markAll();
  }

  move(): Closable {
    const old = this.#running;
    this.#running = this.#owner.own(new SharedRange('guest RAM', old.sizeBytes));
    this.#leaveCheckpoint();
    this.shared = movedRam(this, this.#running);
    return old;
  }

  close(): void {
    this.#owner.close();
  }

  #leaveCheckpoint(): void {
    this.#isAnew = true;
    this.#settling?.finish();
    this.#checkpoint.close();
  }

  #requirePages(firstPage: number, pages: number): void {
    if (!(firstPage >= 0 && pages >= 0 && (firstPage + pages) * pageSize <= this.#checkpoint.sizeBytes)) {
      throw new RangeError(`pages [${firstPage}, +${pages}) are not in RAM of ${this.#checkpoint.sizeBytes} bytes`);
    }
  }

  /** The running guest does not see through a copy what becomes of the checkpoint. */
  #refreshCopies(firstPage: number, pages: number): void {
    for (let page = this.#copies.nextMarked(firstPage); page < firstPage + pages; ) {
      const end = Math.min(this.#copies.nextClean(page), firstPage + pages);
      const offset = page * pageSize;
      copyMemory(this.#running.address + offset, this.#checkpoint.address + offset, (end - page) * pageSize);
      page = this.#copies.nextMarked(end);
    }
  }
}
