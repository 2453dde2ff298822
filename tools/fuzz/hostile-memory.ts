import { viewMemory } from '../../src/host/libc/memory.ts';
import type { IoVector } from '../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../src/host/mappings/mapping.ts';
import type { Closable } from '../../src/host/ownership.ts';
import { type Gpa, gpa, type Hva, hva, pageSize } from '../../src/memory/address.ts';
import { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';
import { GuestMemory, type MemoryPlace } from '../../src/memory/guest-memory.ts';

const guardBytes = pageSize;
const lowBytes = 32 * pageSize;
const highBytes = 16 * pageSize;
const highStart = 0x1_0000_0000;
const guardByte = 0xa5;

/** A region of RAM, as the driver sees it. */
interface Region {
  readonly start: number;
  readonly sizeBytes: number;
  readonly offset: number;
}

const regions: readonly Region[] = [
  { start: 0, sizeBytes: lowBytes, offset: guardBytes },
  { start: highStart, sizeBytes: highBytes, offset: guardBytes + lowBytes + guardBytes },
];
const arenaBytes = lowBytes + highBytes + 3 * guardBytes;

/** Where RAM lies in the arena; -1 if that is no RAM. */
function arenaOffset(address: number, length: number): number {
  for (const { start, sizeBytes, offset } of regions) {
    if (address >= start && address + length <= start + sizeBytes) return address - start + offset;
  }
  return -1;
}

/** First byte behind each region, and the first of each: addresses that are worth a try. */
export const ramEdges: readonly number[] = regions.flatMap(({ start, sizeBytes }) => [start, start + sizeBytes]);

/**
 * RAM whose driver changes it while the device looks, and whose every byte is watched:
 *
 *     guard | RAM at 0 | guard | RAM at 4 GiB | guard
 *
 * The driver writes by {@link put}, past GuestMemory, so all marks are the device's.
 */
export class HostileMemory implements Closable {
  readonly memory: MeddledMemory;
  readonly #mapping = new AnonymousMapping('fuzz RAM', arenaBytes);
  readonly #arena = new Uint8Array(viewMemory(this.#mapping.address, arenaBytes));
  readonly #view = new DataView(this.#arena.buffer);
  /** What RAM holds besides what the device wrote. */
  readonly #known = new Uint8Array(arenaBytes);
  #watched = false;

  constructor() {
    this.memory = new MeddledMemory(
      regions.map(({ start, sizeBytes, offset }) => ({
        start: gpa(start),
        sizeBytes,
        offset: start === 0 ? 0 : lowBytes,
        address: hva(this.#mapping.address + offset),
        windows: [{ offset: 0, bytes: this.#arena.subarray(offset, offset + sizeBytes) }],
        written: new DirtyBitmap(sizeBytes / pageSize),
      })),
    );
    this.#arena.fill(guardByte);
  }

  /** RAM is as new. */
  clear(): void {
    for (const { sizeBytes, offset } of regions) this.#arena.fill(0, offset, offset + sizeBytes);
    for (const { written } of this.memory.regions) written.clear();
    this.memory.meddle = undefined;
    this.memory.tracking = false;
    this.#watched = false;
  }

  /** From now on, what the device writes is to be marked. */
  watch(): void {
    this.#known.set(this.#arena);
    this.memory.tracking = true;
    this.#watched = true;
  }

  /** Writes the low `width` bytes of a value, if there is RAM; the driver's way. */
  put(address: number, width: 1 | 2 | 4, value: number): void {
    const at = arenaOffset(address, width);
    if (at < 0) return;
    if (width === 4) this.#view.setUint32(at, value, true);
    else if (width === 2) this.#view.setUint16(at, value, true);
    else this.#view.setUint8(at, value);
    if (this.#watched) this.#known.set(this.#arena.subarray(at, at + width), at);
  }

  putBytes(address: number, bytes: Uint8Array): void {
    const at = arenaOffset(address, bytes.length);
    if (at < 0) return;
    this.#arena.set(bytes, at);
    if (this.#watched) this.#known.set(bytes, at);
  }

  /** @throws Error if a guard was touched */
  checkGuards(): void {
    const guards = [0, guardBytes + lowBytes, arenaBytes - guardBytes];
    for (const start of guards) {
      if (Buffer.compare(this.#arena.subarray(start, start + guardBytes), untouched) !== 0) {
        throw new Error(`a byte outside RAM was written, behind or before [arena 0x${start.toString(16)}]`);
      }
    }
  }

  /** @throws Error if the device wrote a page of RAM without a mark, since {@link watch} */
  checkMarks(): void {
    for (const [index, { start, sizeBytes, offset }] of regions.entries()) {
      const written = this.memory.regions[index]?.written;
      for (let page = 0; page < sizeBytes / pageSize; page++) {
        const at = offset + page * pageSize;
        const now = this.#arena.subarray(at, at + pageSize);
        if (written?.has(page) || Buffer.compare(now, this.#known.subarray(at, at + pageSize)) === 0) continue;
        throw new Error(`the device wrote to page 0x${(start + page * pageSize).toString(16)} and did not mark it`);
      }
    }
  }

  /** True if the host range has nothing to do with RAM or its guards. */
  isElsewhere(address: number, length: number): boolean {
    return address + length <= this.#mapping.address || address >= this.#mapping.address + arenaBytes;
  }

  /** Does with a host range what a system call would that reads or writes it. @throws Error if some of it is not RAM */
  callKernel(address: number, length: number, what: 'read' | 'write'): void {
    const at = address - this.#mapping.address;
    if (!regions.some(({ sizeBytes, offset }) => at >= offset && at + length <= offset + sizeBytes)) {
      throw new Error(`the device names ${length} bytes of the host's memory outside RAM`);
    }
    if (what === 'write') this.#arena.fill(0x77, at, at + length);
  }

  close(): void {
    this.#mapping.close();
  }
}

const untouched = new Uint8Array(guardBytes).fill(guardByte);

/** Guest memory that something happens to each time it is looked at. */
export class MeddledMemory extends GuestMemory {
  meddle: (() => void) | undefined;

  override reaches(address: number, length: number): boolean {
    this.meddle?.();
    const reached = super.reaches(address, length);
    this.meddle?.();
    return reached;
  }

  override locate(address: number, length: number, place: MemoryPlace): boolean {
    const found = super.locate(address, length, place);
    this.meddle?.();
    return found;
  }

  override slice(address: Gpa, length: number): Uint8Array {
    this.meddle?.();
    return super.slice(address, length);
  }

  override gather(addresses: Float64Array, index: number, offset: number, length: number, target: IoVector): boolean {
    this.meddle?.();
    return super.gather(addresses, index, offset, length, target);
  }

  override addressForRead(address: Gpa, length: number): Hva {
    this.meddle?.();
    return super.addressForRead(address, length);
  }
}
