import { fillMemory, zeroMemory } from '../../host/libc/memory.ts';
import { pageSize } from '../../memory/address.ts';
import type { CheckpointPages } from '../../memory/checkpointed-memory.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';

/**
 * RAM of a standby, which is zeros at first and which nobody else writes. Pages that were zeros all the time are never touched,
 * and so take no memory. The caller has checked that pages are in RAM.
 */
export class TargetRam {
  readonly pages: number;
  readonly #ram: CheckpointPages;
  /** Pages that may be anything but zeros. */
  readonly #written: DirtyBitmap;
  readonly #changed: DirtyBitmap | undefined;

  /** @param changed gets a mark for each page that is written, whoever takes them */
  constructor(ram: CheckpointPages, changed?: SharedArrayBuffer) {
    this.#ram = ram;
    this.pages = ram.regions.reduce((pages, { sizeBytes }) => pages + sizeBytes / pageSize, 0);
    this.#written = new DirtyBitmap(this.pages);
    this.#changed = changed === undefined ? undefined : new DirtyBitmap(this.pages, changed);
  }

  /** Where adjacent pages lie, which the caller writes all. */
  addressFor(firstPage: number, pages: number): number {
    this.#written.markBytes(firstPage * pageSize, pages * pageSize);
    this.#changed?.markBytes(firstPage * pageSize, pages * pageSize);
    return this.#ram.address + firstPage * pageSize;
  }

  raw(firstPage: number, bytes: Uint8Array): void {
    fillMemory(this.addressFor(firstPage, bytes.length / pageSize), bytes);
  }

  zero(firstPage: number, pages: number): void {
    const end = firstPage + pages;
    for (let page = this.#written.nextMarked(firstPage); page < end; page = this.#written.nextMarked(page)) {
      const next = Math.min(this.#written.nextClean(page), end);
      this.#changed?.markBytes(page * pageSize, (next - page) * pageSize);
      zeroMemory(this.#ram.address + page * pageSize, (next - page) * pageSize);
      while (page < next) this.#written.unmark(page++);
    }
  }
}
