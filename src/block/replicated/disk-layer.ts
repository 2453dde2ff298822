import { EINVAL } from '../../host/errno.ts';
import { addressOf, copyMemory, zeroMemory } from '../../host/libc/memory.ts';
import { type IoVector, IoVectors } from '../../host/mappings/io-vector.ts';
import type { BlockBackend, BlockRequest } from '../block-backend.ts';

const sectorBytes = 512;
const pageBytes = 4096;
const pageSectors = pageBytes / sectorBytes;
/** Memory is taken in such pieces; what is rolled back is used again. */
const chunkPages = 256;
/** Of all disks of a machine. What comes beyond waits, in flight, until the guest is rolled back. */
const mostPages = 16_384;

/** What is laid down is joined to writes of so many ranges at most, of which so many are under way. */
const mostRanges = 64;
const writesUnderWay = 16;

interface MemoryRange {
  readonly address: number;
  readonly lengthBytes: number;
}

interface LayerPage {
  readonly address: number;
  /** A bit for each sector that was written. */
  sectors: number;
}

/** Memory for layers: bounded, and used again. */
export class LayerPages {
  readonly #free: LayerPage[] = [];
  readonly #chunks: Uint8Array[] = [];
  readonly #half: () => void;
  #isHalf = false;

  /** @param half called when half of it is taken, or something waits for room: once until {@link forgotten} */
  constructor(half: () => void) {
    this.#half = half;
  }

  /** Room for so many more. */
  get left(): number {
    return this.#free.length + mostPages - this.#chunks.length * chunkPages;
  }

  take(): LayerPage {
    const page = this.#free.pop() ?? this.#grow();
    page.sectors = 0;
    if (this.left < mostPages / 2) this.ask();
    return page;
  }

  /** There is little room left, or none. */
  ask(): void {
    if (this.#isHalf) return;
    this.#isHalf = true;
    this.#half();
  }

  /** All of it was given back. */
  forgotten(): void {
    this.#isHalf = false;
  }

  give(page: LayerPage): void {
    this.#free.push(page);
  }

  #grow(): LayerPage {
    const chunk = new Uint8Array(new SharedArrayBuffer(chunkPages * pageBytes));
    this.#chunks.push(chunk);
    const address = addressOf(chunk);
    for (let page = 1; page < chunkPages; page++) this.#free.push({ address: address + page * pageBytes, sectors: 0 });
    return { address, sectors: 0 };
  }
}

/**
 * What a replica's guest has written to a disk since it was made equal to another guest, in memory before the disk (spec A.7): it reads
 * its own writes, else the disk. A roll-back forgets all of it; when the guest speaks for itself it is laid down on the disk.
 */
export class DiskLayer {
  readonly #own: BlockBackend;
  readonly #memory: LayerPages;
  readonly #pages = new Map<number, LayerPage>();
  /** Changes that found no room. */
  #waiting: BlockRequest[] = [];

  /** @param own the disk's own backend */
  constructor(own: BlockBackend, memory: LayerPages) {
    this.#own = own;
    this.#memory = memory;
  }

  read(request: BlockRequest): void {
    if (this.#pages.size === 0 || !this.#touches(request)) this.#own.read(request);
    else this.#own.read(new LayeredRead(request, this));
  }

  write(request: BlockRequest): void {
    this.#change(request, request.data);
  }

  writeZeroes(request: BlockRequest): void {
    this.#change(request, undefined);
  }

  /** Nothing is durable before the guest speaks for itself, and then what was laid down is flushed with the rest. */
  flush(request: BlockRequest): void {
    request.finished(0);
  }

  /** What the bytes are does not matter any more. */
  discard(request: BlockRequest): void {
    request.finished(0);
  }

  /** Forgets everything. Changes that wait are done with: nobody will know. */
  forget(): void {
    for (const page of this.#pages.values()) this.#memory.give(page);
    this.#pages.clear();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const request of waiting) request.finished(0);
  }

  /** Calls `visit` with the bytes of the disk that {@link layDown} will change. */
  forEachChange(visit: (offset: number, lengthBytes: number) => void): void {
    for (const number of this.#pages.keys()) {
      const offset = number * pageBytes;
      visit(offset, Math.min(pageBytes, this.#own.sizeBytes - offset));
    }
    for (const { offset, length } of this.#waiting) visit(offset, length);
  }

  /**
   * Writes everything to the disk, and forgets it; then what waits.
   *
   * @param turn waits a while for the disk
   * @returns 0 or a negative errno
   */
  layDown(turn: () => void): number {
    const result = this.#writeAll(turn);
    if (result < 0) return result;
    for (const page of this.#pages.values()) this.#memory.give(page);
    this.#pages.clear();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const request of waiting) {
      if (request.data.bytes > 0) this.#own.write(request);
      else this.#own.writeZeroes(request, false);
    }
    this.#own.start();
    return 0;
  }

  /** For {@link LayeredRead} only: puts what was written here over what the disk has. */
  overlay(offset: number, length: number, ranges: readonly MemoryRange[]): void {
    let at = 0;
    for (const { address, lengthBytes } of ranges) {
      if (at >= length) break;
      const end = Math.min(lengthBytes, length - at);
      for (let done = 0; done < end; ) {
        const place = offset + at + done;
        const part = Math.min(sectorBytes - (place % sectorBytes), end - done);
        const page = this.#pages.get(Math.floor(place / pageBytes));
        const inPage = place % pageBytes;
        if (page !== undefined && (page.sectors & (1 << Math.floor(inPage / sectorBytes))) !== 0) {
          copyMemory(address + done, page.address + inPage, part);
        }
        done += part;
      }
      at += end;
    }
  }

  #touches({ offset, length }: BlockRequest): boolean {
    const last = Math.floor((offset + length - 1) / pageBytes);
    for (let page = Math.floor(offset / pageBytes); page <= last; page++) if (this.#pages.has(page)) return true;
    return false;
  }

  #change(request: BlockRequest, data: IoVector | undefined): void {
    const { offset, length } = request;
    if (length <= 0 || offset < 0 || offset + length > this.#own.sizeBytes) {
      request.finished(-EINVAL);
      return;
    }
    const needed = Math.floor((offset + length - 1) / pageBytes) - Math.floor(offset / pageBytes) + 1;
    if (this.#waiting.length > 0 || needed > this.#memory.left) {
      this.#waiting.push(request);
      this.#memory.ask();
      return;
    }
    if (data === undefined) this.#each(offset, length, zeroMemory);
    else {
      let at = offset;
      for (let range = 0; range < data.count; range++) {
        const address = data.addressOf(range);
        const start = at;
        this.#each(at, data.lengthOf(range), (target, bytes, place) =>
          copyMemory(target, address + place - start, bytes),
        );
        at += data.lengthOf(range);
      }
    }
    request.finished(0);
  }

  /** Has each piece of a page be filled, and its sectors be written. */
  #each(offset: number, length: number, fill: (target: number, bytes: number, place: number) => void): void {
    for (let at = offset; at < offset + length; ) {
      const number = Math.floor(at / pageBytes);
      const inPage = at - number * pageBytes;
      const part = Math.min(pageBytes - inPage, offset + length - at);
      let page = this.#pages.get(number);
      if (page === undefined) {
        page = this.#memory.take();
        this.#pages.set(number, page);
      }
      fill(page.address + inPage, part, at);
      const last = Math.floor((inPage + part - 1) / sectorBytes);
      for (let sector = Math.floor(inPage / sectorBytes); sector <= last; sector++) page.sectors |= 1 << sector;
      at += part;
    }
  }

  /** A slow disk is asked for much at a time: nobody answers clients before this is over. */
  #writeAll(turn: () => void): number {
    const vectors = new IoVectors(writesUnderWay, mostRanges);
    try {
      const idle = [...vectors.vectors];
      let result = 0;
      let underWay = 0;
      let run: IoVector | undefined;
      let start = 0;
      const write = (data: IoVector): void => {
        const finished = (outcome: number): void => {
          if (outcome < 0) result = outcome;
          underWay--;
          idle.push(data);
        };
        underWay++;
        this.#own.write({ offset: start, length: data.bytes, data, finished });
        this.#own.start();
      };
      for (const { offset, address, lengthBytes } of this.#inOrder()) {
        if (run !== undefined && start + run.bytes === offset && run.add(address, lengthBytes)) continue;
        if (run !== undefined) write(run);
        while (idle.length === 0) turn();
        if (result < 0) break;
        run = idle.pop() as IoVector;
        run.clear();
        run.add(address, lengthBytes);
        start = offset;
      }
      if (run !== undefined && result === 0) write(run);
      while (underWay > 0) turn();
      return result;
    } finally {
      vectors.close();
    }
  }

  /** All that was written, in the order of the disk. */
  *#inOrder(): Generator<MemoryRange & { readonly offset: number }> {
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const { address, sectors } = this.#pages.get(number) as LayerPage;
      for (let sector = 0; sector < pageSectors; sector++) {
        const first = sector;
        while ((sectors & (1 << sector)) !== 0) sector++;
        const at = first * sectorBytes;
        const lengthBytes = (sector - first) * sectorBytes;
        if (lengthBytes > 0) yield { offset: number * pageBytes + at, address: address + at, lengthBytes };
      }
    }
  }
}

/** A read of the disk that what was written before it is put over. */
class LayeredRead implements BlockRequest {
  readonly offset: number;
  readonly length: number;
  readonly data: IoVector;
  readonly #request: BlockRequest;
  readonly #layer: DiskLayer;
  /** Where the guest wants it. Whoever reads takes off `data` what it has read. */
  readonly #ranges: readonly MemoryRange[];

  constructor(request: BlockRequest, layer: DiskLayer) {
    this.offset = request.offset;
    this.length = request.length;
    this.data = request.data;
    this.#request = request;
    this.#layer = layer;
    const { data } = request;
    this.#ranges = Array.from({ length: data.count }, (_, range) => ({
      address: data.addressOf(range),
      lengthBytes: data.lengthOf(range),
    }));
  }

  finished(result: number): void {
    if (result >= 0) this.#layer.overlay(this.offset, this.length, this.#ranges);
    this.#request.finished(result);
  }
}
