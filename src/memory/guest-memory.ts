import { fillMemory, moveMemory, populate, zeroMemory } from '../host/libc/memory.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import { alignDown, alignUp, type Gpa, gpa, type Hva, hva, pageSize } from './address.ts';
import { DirtyBitmap, type TrackingCell } from './dirty-bitmap.ts';
import { MemoryArea } from './memory-area.ts';
import type { RamRegion } from './regions.ts';

/** From here on a call of the C library pays: what V8 does with bytes of a shared buffer, it does in small pieces. */
const longCopy = 4096;

/** Someone named guest-physical bytes that are not RAM. Usually the guest did, in a ring or a register. */
export class GuestMemoryError extends Error {
  readonly code = 'GUEST_MEMORY';
  readonly address: number;
  readonly length: number;

  constructor(address: number, length: number) {
    super(`guest-physical [0x${address.toString(16)}, +${length}) is not RAM`);
    this.name = 'GuestMemoryError';
    this.address = address;
    this.length = length;
  }
}

/** A region with the bytes behind it. */
export interface BackedRegion extends RamRegion {
  /** First byte in this process; 0 when the bytes are an ordinary buffer (unit tests). */
  readonly address: Hva;
  /**
   * The same bytes as arrays. One, unless the region is longer than an array may be: then each starts where
   * the one before has reached its middle, so that a slice of up to half an array lies whole in one of them.
   */
  readonly windows: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  /** Pages this process wrote while tracking was on. KVM's log does not see those. */
  readonly written: DirtyBitmap;
}

/** All are made in one place: V8 finds a number in an object of a shape that it knows, and else allocates for it. */
interface Window {
  readonly start: number;
  readonly end: number;
  /** Address in this process of the byte at `start`. */
  readonly host: Hva;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly region: BackedRegion;
}

/** Where guest-physical bytes lie: at `base` of `view`. Made once and filled in by {@link GuestMemory.locate}. */
export interface MemoryPlace {
  view: DataView;
  base: number;
}

/**
 * Guest-physical memory. All access from user space goes through here: it checks that an access lies in RAM
 * and records what was written. It never allocates on scalar access; `slice` makes one small view object.
 */
export class GuestMemory {
  #regions: readonly BackedRegion[];
  readonly sizeBytes: number;
  /** Gone through by index: on hot paths an iterator shows, even where V8 inlines it. */
  #windows: readonly Window[];
  readonly #tracking: TrackingCell;

  constructor(regions: readonly BackedRegion[], tracking: TrackingCell = new Int32Array(new SharedArrayBuffer(4))) {
    this.#regions = regions;
    this.sizeBytes = regions.reduce((sum, region) => sum + region.sizeBytes, 0);
    this.#tracking = tracking;
    this.#windows = regions.flatMap((region) =>
      region.windows.map(({ offset, bytes }) => ({
        start: region.start + offset,
        end: region.start + offset + bytes.length,
        host: hva(region.address + offset),
        bytes,
        view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
        region,
      })),
    );
  }

  get regions(): readonly BackedRegion[] {
    return this.#regions;
  }

  /** Becomes what `other` is, of the same regions and marks: its bytes lie elsewhere. Areas that were made are of the old ones. */
  adopt(other: GuestMemory): void {
    this.#regions = other.#regions;
    this.#windows = other.#windows;
  }

  /** True if every byte of [address, address + length) is RAM of one region. */
  contains(address: number, length: number): boolean {
    return this.regions.some(
      (region) => address >= region.start && length >= 0 && address + length <= region.start + region.sizeBytes,
    );
  }

  /**
   * True if an access to the whole of [address, address + length) would succeed: what is longer than half a window may
   * be RAM and yet not be reached in one piece. Hot path.
   */
  reaches(address: number, length: number): boolean {
    const windows = this.#windows;
    for (let index = 0; index < windows.length; index++) {
      const window = windows[index] as Window;
      if (address >= window.start && length >= 0 && address + length <= window.end) return true;
    }
    return false;
  }

  /** As {@link reaches}; if so, `place` says where the bytes lie. Whoever goes there only reads. Hot path. */
  locate(address: number, length: number, place: MemoryPlace): boolean {
    const windows = this.#windows;
    for (let index = 0; index < windows.length; index++) {
      const window = windows[index] as Window;
      if (address >= window.start && length >= 0 && address + length <= window.end) {
        place.view = window.view;
        place.base = address - window.start;
        return true;
      }
    }
    return false;
  }

  /** First byte behind the RAM that begins at 0: the top of low memory. */
  get lowEnd(): Gpa {
    return gpa(this.regions[0]?.sizeBytes ?? 0);
  }

  /** The bytes of [address, address + length), to be read only. Not a copy: the guest may change them at any time. */
  slice(address: Gpa, length: number): Uint8Array {
    const window = this.#find(address, length);
    return window.bytes.subarray(address - window.start, address - window.start + length);
  }

  /**
   * As {@link slice}, to be written; its pages count as written from now on. What is written while others collect marks is
   * written by {@link write}, or marked afterwards ({@link markWritten}).
   */
  writableSlice(address: Gpa, length: number): Uint8Array {
    const window = this.#find(address, length);
    this.#record(window, address, length);
    return window.bytes.subarray(address - window.start, address - window.start + length);
  }

  /** [address, address + length), checked now, for many accesses later. @throws GuestMemoryError */
  area(address: Gpa, length: number): MemoryArea {
    const window = this.#find(address, length);
    return new MemoryArea(
      { address, length, offsetInRegion: address - window.region.start },
      { view: window.view, base: address - window.start },
      { written: window.region.written, tracking: this.#tracking },
    );
  }

  /** Copies `bytes` to `address`. */
  write(address: Gpa, bytes: Uint8Array): void {
    const window = this.#find(address, bytes.length);
    if (bytes.length >= longCopy && this.#isMapped) fillMemory(window.host + (address - window.start), bytes);
    else window.bytes.set(bytes, address - window.start);
    this.#record(window, address, bytes.length);
  }

  /** As {@link writableSlice}, for a large area that is about to be filled whole: its pages come all at once. */
  fillableSlice(address: Gpa, length: number): Uint8Array {
    const slice = this.writableSlice(address, length);
    const host = this.addressForWrite(address, length);
    const start = alignUp(host, pageSize);
    const end = alignDown(host + length, pageSize);
    if (this.#isMapped && end > start) populate(start, end - start);
    return slice;
  }

  /** Sets `length` bytes to zero. */
  zero(address: Gpa, length: number): void {
    const slice = this.writableSlice(address, length);
    if (length >= longCopy && this.#isMapped) zeroMemory(this.addressForRead(address, length), length);
    else slice.fill(0);
  }

  /** Copies `length` bytes from `source` to `target`; they may overlap. */
  move(target: Gpa, source: Gpa, length: number): void {
    const from = this.slice(source, length);
    const to = this.writableSlice(target, length);
    if (length >= longCopy && this.#isMapped)
      moveMemory(this.addressForRead(target, length), this.addressForRead(source, length), length);
    else to.set(from);
  }

  readU8(address: Gpa): number {
    const window = this.#find(address, 1);
    return window.view.getUint8(address - window.start);
  }

  readU16(address: Gpa): number {
    const window = this.#find(address, 2);
    return window.view.getUint16(address - window.start, true);
  }

  readU32(address: Gpa): number {
    const window = this.#find(address, 4);
    return window.view.getUint32(address - window.start, true);
  }

  readU64(address: Gpa): bigint {
    const window = this.#find(address, 8);
    return window.view.getBigUint64(address - window.start, true);
  }

  writeU8(address: Gpa, value: number): void {
    const window = this.#find(address, 1);
    window.view.setUint8(address - window.start, value);
    this.#record(window, address, 1);
  }

  writeU16(address: Gpa, value: number): void {
    const window = this.#find(address, 2);
    window.view.setUint16(address - window.start, value, true);
    this.#record(window, address, 2);
  }

  writeU32(address: Gpa, value: number): void {
    const window = this.#find(address, 4);
    window.view.setUint32(address - window.start, value, true);
    this.#record(window, address, 4);
  }

  writeU64(address: Gpa, value: bigint): void {
    const window = this.#find(address, 8);
    window.view.setBigUint64(address - window.start, value, true);
    this.#record(window, address, 8);
  }

  /** All pages count as written. */
  markAll(): void {
    if (this.#tracking[0] !== 1) return;
    for (const { written, sizeBytes } of this.regions) written.markBytes(0, sizeBytes);
  }

  /** Host address of the bytes, for a system call that reads them in place. */
  addressForRead(address: Gpa, length: number): Hva {
    const window = this.#find(address, length);
    return hva(window.host + (address - window.start));
  }

  /** Host address of the bytes, for a system call that writes them in place; they count as written. */
  addressForWrite(address: Gpa, length: number): Hva {
    const window = this.#find(address, length);
    this.#record(window, address, length);
    return hva(window.host + (address - window.start));
  }

  /**
   * Appends the host addresses of `length` bytes, `offset` behind `addresses[index]`, to `target`; false if that has no
   * room. As {@link addressForRead}. The address is looked up here, for V8 allocates to hand one beyond 2^31 to a function
   * that it does not inline. Hot path.
   */
  gather(addresses: Float64Array, index: number, offset: number, length: number, target: IoVector): boolean {
    const address = (addresses[index] as number) + offset;
    const windows = this.#windows;
    for (let at = 0; at < windows.length; at++) {
      const window = windows[at] as Window;
      if (address < window.start || address + length > window.end) continue;
      const host = window.host + (address - window.start);
      return target.addSplit(host | 0, Math.floor(host / 0x1_0000_0000), length);
    }
    throw new GuestMemoryError(address, length);
  }

  /**
   * Records bytes that something else wrote, such as a system call that got {@link addressForRead}. After the write: a
   * mark that is collected before the bytes are there tells of nothing.
   */
  markWritten(address: Gpa, length: number): void {
    this.#record(this.#find(address, length), address, length);
  }

  /** As {@link markWritten}, of pages that are counted without the hole. */
  markPages(firstPage: number, pages: number): void {
    if (!this.tracking) return;
    const [start, end] = [firstPage * pageSize, (firstPage + pages) * pageSize];
    for (const { offset, sizeBytes, written } of this.regions) {
      const first = Math.max(start, offset);
      const last = Math.min(end, offset + sizeBytes);
      if (first < last) written.markBytes(first - offset, last - first);
    }
  }

  /** Starts or stops recording the pages this process writes, in all threads at once. */
  set tracking(on: boolean) {
    Atomics.store(this.#tracking, 0, on ? 1 : 0);
  }

  get tracking(): boolean {
    return this.#tracking[0] === 1;
  }

  /** It lies where system calls find it, and not in ordinary buffers. */
  get #isMapped(): boolean {
    return this.regions[0]?.address !== 0;
  }

  #find(address: number, length: number): Window {
    const windows = this.#windows;
    for (let index = 0; index < windows.length; index++) {
      const window = windows[index] as Window;
      if (address >= window.start && length >= 0 && address + length <= window.end) return window;
    }
    throw new GuestMemoryError(address, length);
  }

  /** After the write: see {@link markWritten}. */
  #record(window: Window, address: number, length: number): void {
    if (this.#tracking[0] === 1) window.region.written.markBytes(address - window.region.start, length);
  }
}

/** Guest memory over ordinary buffers, for code that needs neither KVM nor a memfd. */
export function bufferedGuestMemory(regions: readonly RamRegion[]): GuestMemory {
  return new GuestMemory(
    regions.map((region) => ({
      ...region,
      address: hva(0),
      windows: [{ offset: 0, bytes: new Uint8Array(region.sizeBytes) }],
      written: new DirtyBitmap(region.sizeBytes / pageSize),
    })),
  );
}
