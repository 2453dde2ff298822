import { fdatasyncSync, writeSync } from 'node:fs';
import type { Fd } from '../host/libc/descriptors.ts';
import { viewMemory } from '../host/libc/memory.ts';
import { type IoVector, IoVectors } from '../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../host/mappings/mapping.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import type { BlockRequest } from './block-backend.ts';
import { type OverlayLayout, overlayBlockBytes as pageBytes } from './overlay-file.ts';
import type { RawFile } from './raw-file.ts';

/**
 * Which blocks of an overlay are allocated: the bitmap as it is now, in memory, and its way to the file.
 *
 * A flush makes a copy of the pages that changed, syncs the data, writes the copies, syncs again. The copies hold only
 * bits whose data was written before the first sync, so no bit is ever in the file before its data; and none at all once
 * a sync has failed, for after that none succeeds (see {@link RawFile.lost}).
 *
 * The bits, and which pages of them the file does not have yet, are shared by all threads that have the overlay open. Of those
 * one at a time may change it, and flush.
 */
export class AllocationMap implements Closable {
  readonly #owner = new Owner();
  readonly #bits: Uint8Array;
  /** What the flush under way writes. */
  readonly #copy: Uint8Array;
  readonly #copyAddress: number;
  readonly #isChanged: Uint8Array;
  readonly #writing: number[] = [];
  readonly #layout: OverlayLayout;
  readonly #file: RawFile;
  readonly #fd: Fd;
  readonly #page: PageRequest;
  // Those who wait for the flush under way, and for the one after it.
  #current: BlockRequest[] = [];
  #next: BlockRequest[] = [];
  #phase: 'idle' | 'data' | 'pages' | 'bits' = 'idle';
  #position = 0;

  /** @param shared what {@link openOverlay} read */
  constructor(file: RawFile, fd: Fd, layout: OverlayLayout, shared: SharedArrayBuffer) {
    this.#file = file;
    this.#fd = fd;
    this.#layout = layout;
    this.#bits = new Uint8Array(shared, 0, layout.bitmapBytes);
    this.#isChanged = new Uint8Array(shared, layout.bitmapBytes);
    try {
      const copy = this.#owner.own(new AnonymousMapping('bitmap copy', layout.bitmapBytes));
      const data = this.#owner.own(new IoVectors(1, 1)).vectors[0] as IoVector;
      this.#copy = new Uint8Array(viewMemory(copy.address, layout.bitmapBytes));
      this.#copyAddress = copy.address;
      this.#page = new PageRequest(this, data);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** Hot path. */
  has(block: number): boolean {
    return ((this.#bits[block >>> 3] as number) & (1 << (block & 7))) !== 0;
  }

  /** True if [first, last] are all allocated. */
  hasAll(first: number, last: number): boolean {
    for (let block = first; block <= last; block++) if (!this.has(block)) return false;
    return true;
  }

  /** The data of [first, last] is written. */
  add(first: number, last: number): void {
    for (let block = first; block <= last; block++) {
      const at = block >>> 3;
      const bits = this.#bits[at] as number;
      const changed = bits | (1 << (block & 7));
      if (changed === bits) continue;
      this.#bits[at] = changed;
      this.#isChanged[Math.floor(at / pageBytes)] = 1;
    }
  }

  /** Makes all data and bits so far durable. */
  flush(request: BlockRequest): void {
    this.#next.push(request);
    if (this.#phase === 'idle') this.#begin();
  }

  /** A step of the flush is done. */
  advance(result: number): void {
    if (result < 0) {
      for (const page of this.#writing) this.#isChanged[page] = 1;
      this.#finish(result);
    } else if (this.#phase === 'data' && this.#writing.length > 0) {
      this.#phase = 'pages';
      this.#writePages();
    } else if (this.#phase === 'pages') this.#writePages();
    else this.#finish(0);
  }

  /** Writes what has changed, waiting for it. Nothing may be in flight. Where data was lost the bits stay as they are in the
   * file: nobody can tell any more which ones have their data there. */
  writeBack(): void {
    if (this.#file.lost !== 0) return;
    const pages = this.#takeChanged();
    if (pages.length === 0) return;
    fdatasyncSync(this.#fd);
    for (const page of pages) this.#writePage(page);
    fdatasyncSync(this.#fd);
  }

  /** Nothing may be in flight. */
  close(): void {
    this.#owner.close();
  }

  #writePage(page: number): void {
    const start = page * pageBytes;
    for (let at = start; at < start + pageBytes; ) {
      at += writeSync(this.#fd, this.#copy, at, start + pageBytes - at, this.#layout.bitmapOffset + at);
    }
  }

  #begin(): void {
    const spent = this.#current;
    this.#current = this.#next;
    this.#next = spent;
    this.#writing.push(...this.#takeChanged());
    this.#position = 0;
    this.#phase = 'data';
    this.#file.flush(this.#page);
  }

  /** Writes the next run of neighbouring pages; after the last one, syncs. */
  #writePages(): void {
    const pages = this.#writing;
    const first = pages[this.#position];
    if (first === undefined) {
      this.#phase = 'bits';
      this.#file.flush(this.#page);
      return;
    }
    let count = 1;
    while (pages[this.#position + count] === first + count) count++;
    this.#position += count;
    const { data } = this.#page;
    data.clear();
    data.add(this.#copyAddress + first * pageBytes, count * pageBytes);
    this.#page.offset = this.#layout.bitmapOffset + first * pageBytes;
    this.#page.length = count * pageBytes;
    this.#file.write(this.#page);
  }

  #finish(result: number): void {
    this.#writing.length = 0;
    // Not idle before all are told: one of them may ask for the next flush.
    const waiting = this.#current;
    for (let index = 0; index < waiting.length; index++) (waiting[index] as BlockRequest).finished(result);
    waiting.length = 0;
    this.#phase = 'idle';
    if (this.#next.length > 0) this.#begin();
  }

  /** The pages that the file does not have yet; a copy of them is made. */
  #takeChanged(): number[] {
    const pages: number[] = [];
    for (let page = this.#isChanged.indexOf(1); page >= 0; page = this.#isChanged.indexOf(1, page + 1)) {
      const at = page * pageBytes;
      this.#isChanged[page] = 0;
      this.#copy.set(this.#bits.subarray(at, at + pageBytes), at);
      pages.push(page);
    }
    return pages;
  }
}

class PageRequest implements BlockRequest {
  offset = 0;
  length = 0;
  readonly data: IoVector;
  readonly #map: AllocationMap;

  constructor(map: AllocationMap, data: IoVector) {
    this.#map = map;
    this.data = data;
  }

  finished(result: number): void {
    this.#map.advance(result);
  }
}
