import { fdatasyncSync, readSync, writeSync } from 'node:fs';
import { type IoVector, IoVectors } from '../host/io-vector.ts';
import { type Fd, viewMemory } from '../host/libc.ts';
import { AnonymousMapping } from '../host/mapping.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import type { BlockRequest } from './block-backend.ts';
import { DiskError } from './disk-error.ts';
import { type OverlayLayout, overlayBlockBytes as pageBytes } from './overlay-file.ts';
import type { RawFile } from './raw-file.ts';

/**
 * Which blocks of an overlay are allocated: the bitmap as it is now, in memory, and its way to the file.
 *
 * A flush makes a copy of the pages that changed, syncs the data, writes the copies, syncs again. The copies hold only
 * bits whose data was written before the first sync, so no bit is ever in the file before its data; and none at all once
 * a sync has failed, for after that none succeeds (see {@link RawFile.lost}).
 */
export class AllocationMap implements Closable {
  readonly #owner = new Owner();
  readonly #bits: Uint8Array;
  /** What the flush under way writes. */
  readonly #copy: Uint8Array;
  readonly #copyAddress: number;
  readonly #isChanged: Uint8Array;
  #changed: number[] = [];
  #writing: number[] = [];
  readonly #layout: OverlayLayout;
  readonly #file: RawFile;
  readonly #fd: Fd;
  readonly #page: PageRequest;
  // Those who wait for the flush under way, and for the one after it.
  #current: BlockRequest[] = [];
  #next: BlockRequest[] = [];
  #phase: 'idle' | 'data' | 'pages' | 'bits' = 'idle';
  #position = 0;

  constructor(file: RawFile, fd: Fd, layout: OverlayLayout, path: string) {
    this.#file = file;
    this.#fd = fd;
    this.#layout = layout;
    this.#isChanged = new Uint8Array(layout.bitmapBytes / pageBytes);
    try {
      const bits = this.#owner.own(new AnonymousMapping('bitmap', layout.bitmapBytes));
      const copy = this.#owner.own(new AnonymousMapping('bitmap copy', layout.bitmapBytes));
      const data = this.#owner.own(new IoVectors(1, 1)).vectors[0] as IoVector;
      this.#bits = new Uint8Array(viewMemory(bits.address, layout.bitmapBytes));
      this.#copy = new Uint8Array(viewMemory(copy.address, layout.bitmapBytes));
      this.#copyAddress = copy.address;
      this.#page = new PageRequest(this, data);
      for (let at = 0; at < layout.bitmapBytes; ) {
        const count = readSync(fd, this.#bits, at, layout.bitmapBytes - at, layout.bitmapOffset + at);
        if (count === 0) throw new DiskError(`overlay ${path} is truncated within its bitmap; restore it from a copy`);
        at += count;
      }
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
      this.#markChanged(Math.floor(at / pageBytes));
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
      for (const page of this.#writing) this.#markChanged(page);
      this.#finish(result);
    } else if (this.#phase === 'data' && this.#writing.length > 0) {
      this.#phase = 'pages';
      this.#writePages();
    } else if (this.#phase === 'pages') this.#writePages();
    else this.#finish(0);
  }

  /**
   * Writes what has changed, waiting for it, and gives everything back. Nothing may be in flight. Where data was lost its
   * bits stay as they are in the file: nobody can tell any more which ones have their data there.
   */
  close(): void {
    try {
      if (this.#changed.length > 0 && this.#file.lost === 0) {
        fdatasyncSync(this.#fd);
        for (const page of this.#changed) this.#writePage(page);
        fdatasyncSync(this.#fd);
        this.#changed = [];
      }
    } finally {
      this.#owner.close();
    }
  }

  #writePage(page: number): void {
    const start = page * pageBytes;
    for (let at = start; at < start + pageBytes; ) {
      at += writeSync(this.#fd, this.#bits, at, start + pageBytes - at, this.#layout.bitmapOffset + at);
    }
  }

  #begin(): void {
    const spent = this.#current;
    this.#current = this.#next;
    this.#next = spent;
    const written = this.#writing;
    this.#writing = this.#changed;
    this.#changed = written;
    for (const page of this.#writing) {
      const at = page * pageBytes;
      this.#isChanged[page] = 0;
      this.#copy.set(this.#bits.subarray(at, at + pageBytes), at);
    }
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

  #markChanged(page: number): void {
    if (this.#isChanged[page] === 1) return;
    this.#isChanged[page] = 1;
    this.#changed.push(page);
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
