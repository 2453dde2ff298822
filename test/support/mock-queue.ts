import type { QueueSetup } from '../../src/devices/virtio/virtqueue.ts';
import { type Gpa, gpa } from '../../src/memory/address.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';

/** Flags of a descriptor. */
export const descriptor = { next: 1, write: 2, indirect: 4 } as const;

/** A buffer of a request as a driver gives it: bytes that the device reads, or room that it writes. */
export type MockBuffer = { readonly read: Uint8Array } | { readonly write: number };

/** A buffer at an address of the test's choice, whatever is there. */
export interface PlacedBuffer {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

/** A used entry. */
export interface Used {
  readonly head: number;
  readonly length: number;
}

/** A used entry with what the device wrote, cut to the length that it told. */
export interface Answer extends Used {
  readonly bytes: Uint8Array;
}

export interface MockQueueOptions {
  readonly size: number;
  readonly eventIndex?: boolean;
  /** Where the rings begin; default: wherever there is room. */
  readonly base?: Gpa;
  /** A queue that lies there already, in memory that is a copy: goes on where that one is. */
  readonly from?: MockQueue;
}

/** Places things in guest memory one after the other, and starts again when it is full. */
export class GuestRoom {
  readonly #start: number;
  readonly #end: number;
  #next: number;

  constructor(start: number, end: number) {
    this.#start = start;
    this.#end = end;
    this.#next = start;
  }

  take(bytes: number, alignment = 16): Gpa {
    if (bytes > this.#end - this.#start) throw new RangeError(`no room for ${bytes} bytes in the mock's memory`);
    let at = Math.ceil(this.#next / alignment) * alignment;
    if (at + bytes > this.#end) at = Math.ceil(this.#start / alignment) * alignment;
    this.#next = at + bytes;
    return gpa(at);
  }
}

/**
 * The driver's side of a split virtqueue. It is a good driver by {@link add}, {@link collect} and {@link wantsKick};
 * the other methods write whatever a test wants into the rings.
 */
export class MockQueue {
  readonly size: number;
  readonly setup: QueueSetup;
  readonly memory: GuestMemory;
  readonly room: GuestRoom;
  readonly eventIndex: boolean;
  /** The index that the device sees. */
  availIndex = 0;
  #collected = 0;
  #kicked = 0;
  readonly #free: number[];
  readonly #inFlight: Map<number, { readonly indexes: number[]; readonly writable: PlacedBuffer[] }>;

  constructor(memory: GuestMemory, room: GuestRoom, { size, eventIndex = false, base, from }: MockQueueOptions) {
    this.memory = memory;
    this.room = room;
    this.size = size;
    this.eventIndex = eventIndex;
    if (from !== undefined) {
      this.setup = from.setup;
      this.availIndex = from.availIndex;
      this.#collected = from.#collected;
      this.#kicked = from.#kicked;
      this.#free = [...from.#free];
      this.#inFlight = new Map(from.#inFlight);
      return;
    }
    const descriptors = base ?? room.take(16 * size + 6 + 2 * size + 4 + 6 + 8 * size);
    const driver = gpa(descriptors + 16 * size);
    const device = gpa(Math.ceil((driver + 6 + 2 * size) / 4) * 4);
    this.setup = { size, descriptors, driver, device };
    memory.zero(descriptors, device + 6 + 8 * size - descriptors);
    this.#inFlight = new Map();
    this.#free = Array.from({ length: size }, (_, index) => size - 1 - index);
  }

  /** Descriptors that are not in use. */
  get free(): number {
    return this.#free.length;
  }

  /** Requests that were added and not collected. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Copies the buffers into guest memory and shows the device a request of them; its head. */
  add(buffers: readonly MockBuffer[], how: 'direct' | 'indirect' = 'direct'): number {
    return this.addPlaced(
      buffers.map((buffer) => this.place(buffer)),
      how,
    );
  }

  /** Gives a buffer a place in guest memory. */
  place(buffer: MockBuffer): PlacedBuffer {
    const length = 'read' in buffer ? buffer.read.length : buffer.write;
    const address = this.room.take(length, 1);
    if ('read' in buffer) this.memory.write(address, buffer.read);
    return { address, length, writable: !('read' in buffer) };
  }

  /** As {@link add}, of buffers that lie somewhere already. */
  addPlaced(buffers: readonly PlacedBuffer[], how: 'direct' | 'indirect' = 'direct'): number {
    const indexes = this.#take(how === 'direct' ? buffers.length : 1);
    const head = indexes[0] as number;
    if (how === 'direct') {
      for (const [at, buffer] of buffers.entries()) {
        this.writeDescriptor(indexes[at] as number, this.#entry(buffer, indexes[at + 1]));
      }
    } else {
      const table = this.room.take(16 * buffers.length);
      for (const [at, buffer] of buffers.entries()) {
        this.writeDescriptorAt(table + 16 * at, this.#entry(buffer, at + 1 < buffers.length ? at + 1 : undefined));
      }
      this.writeDescriptor(head, { address: table, length: 16 * buffers.length, flags: descriptor.indirect, next: 0 });
    }
    this.#inFlight.set(head, { indexes, writable: buffers.filter((buffer) => buffer.writable) });
    this.offer(head);
    return head;
  }

  /** Puts a head into the avail ring and shows it to the device. */
  offer(head: number): void {
    this.writeAvail(this.availIndex, head);
    this.setAvailIndex(this.availIndex + 1);
  }

  /** True if the device wants to be kicked for what was added since the last call. */
  wantsKick(): boolean {
    const before = this.#kicked;
    const after = this.availIndex;
    this.#kicked = after;
    if (!this.eventIndex) return (this.usedFlags & 1) === 0;
    return ((after - this.availEvent - 1) & 0xffff) < ((after - before) & 0xffff);
  }

  /** Takes what the device has used. With event index it then asks to be interrupted for the next one. */
  collect(): Answer[] {
    const answers: Answer[] = [];
    while (this.#collected !== this.usedIndex) {
      const { head, length } = this.used(this.#collected);
      this.#collected = (this.#collected + 1) & 0xffff;
      const request = this.#inFlight.get(head);
      if (request === undefined) throw new Error(`the device used descriptor ${head}, which is not in flight`);
      this.#inFlight.delete(head);
      this.#free.push(...request.indexes.reverse());
      answers.push({ head, length, bytes: this.#written(request.writable, length) });
    }
    if (this.eventIndex) this.setUsedEvent(this.#collected);
    return answers;
  }

  /** The one answer there is. */
  collectOne(): Answer {
    const [answer, ...more] = this.collect();
    if (answer === undefined || more.length > 0) throw new Error(`${more.length + (answer ? 1 : 0)} answers, not one`);
    return answer;
  }

  // The rings, raw.

  get usedFlags(): number {
    return this.memory.readU16(this.setup.device);
  }

  get usedIndex(): number {
    return this.memory.readU16(gpa(this.setup.device + 2));
  }

  /** Entry `index` of the used ring, modulo its size. */
  used(index: number): Used {
    const at = this.setup.device + 4 + 8 * (index % this.size);
    return { head: this.memory.readU32(gpa(at)), length: this.memory.readU32(gpa(at + 4)) };
  }

  get availEvent(): number {
    return this.memory.readU16(gpa(this.setup.device + 4 + 8 * this.size));
  }

  setAvailFlags(flags: number): void {
    this.memory.writeU16(this.setup.driver, flags);
  }

  setAvailIndex(index: number): void {
    this.availIndex = index & 0xffff;
    this.memory.writeU16(gpa(this.setup.driver + 2), this.availIndex);
  }

  writeAvail(index: number, head: number): void {
    this.memory.writeU16(gpa(this.setup.driver + 4 + 2 * (index % this.size)), head);
  }

  setUsedEvent(index: number): void {
    this.memory.writeU16(gpa(this.setup.driver + 4 + 2 * this.size), index & 0xffff);
  }

  writeDescriptor(index: number, entry: DescriptorEntry): void {
    this.writeDescriptorAt(this.setup.descriptors + 16 * index, entry);
  }

  writeDescriptorAt(at: number, { address, length, flags = 0, next = 0 }: DescriptorEntry): void {
    this.memory.writeU64(gpa(at), BigInt(address));
    this.memory.writeU32(gpa(at + 8), length);
    this.memory.writeU16(gpa(at + 12), flags);
    this.memory.writeU16(gpa(at + 14), next);
  }

  /** Both sides start over from a place in the rings, as if so many requests had passed. */
  startAt(index: number): void {
    this.setAvailIndex(index);
    this.memory.writeU16(gpa(this.setup.device + 2), index);
    this.#collected = index;
    this.#kicked = index;
  }

  #take(count: number): number[] {
    if (count === 0 || count > this.#free.length) throw new RangeError(`${this.#free.length} descriptors are free`);
    return Array.from({ length: count }, () => this.#free.pop() as number);
  }

  #entry({ address, length, writable }: PlacedBuffer, next: number | undefined): DescriptorEntry {
    const flags = (writable ? descriptor.write : 0) | (next === undefined ? 0 : descriptor.next);
    return { address, length, flags, next: next ?? 0 };
  }

  #written(buffers: readonly PlacedBuffer[], length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const buffer of buffers) {
      const part = Math.min(buffer.length, length - at);
      bytes.set(this.memory.slice(gpa(buffer.address), part), at);
      at += part;
    }
    if (at < length) throw new Error(`the device says that it wrote ${length} bytes into ${at}`);
    return bytes;
  }
}

/** A descriptor as it lies in memory. */
export interface DescriptorEntry {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}
