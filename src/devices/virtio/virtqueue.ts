import type { Gpa } from '../../memory/address.ts';
import { type GuestMemory, GuestMemoryError, type MemoryPlace } from '../../memory/guest-memory.ts';
import type { MemoryArea } from '../../memory/memory-area.ts';
import type { DescriptorChain } from './descriptor-chain.ts';

/** What a driver has set a queue up with. Nothing of it is checked yet. */
export interface QueueSetup {
  readonly size: number;
  readonly descriptors: Gpa;
  /** The avail ring. */
  readonly driver: Gpa;
  /** The used ring. */
  readonly device: Gpa;
}

export interface QueueFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** Where a queue stands: all there is to save of it besides its setup. Counters are modulo 2^16. */
export interface QueuePosition {
  /** Of the avail ring, the entry to take next. */
  readonly nextAvail: number;
  /** Of the used ring, the entry to write next. */
  readonly nextUsed: number;
  /** The used index that the driver was last shown, and perhaps interrupted for. */
  readonly signalled: number;
}

/** A driver set a queue up in a way that no device can work with. */
export class VirtqueueError extends Error {
  readonly code = 'VIRTQUEUE';

  constructor(reason: string) {
    super(reason);
    this.name = 'VirtqueueError';
  }
}

/** Virtio 1.2, 2.7: what a counter of 16 bits allows. */
export const maxQueueSize = 32768;

// Descriptor flags (2.7.5).
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const descriptorBytes = 16;

// Both rings begin with 16 bits of flags and a 16-bit index (2.7.6, 2.7.8).
const RING_FLAGS = 0;
const RING_INDEX = 1;
const ringHeaderWords = 2;
const AVAIL_NO_INTERRUPT = 1;
const USED_NO_NOTIFY = 1;

/** A chain may hold 4 GiB in sum (2.7.5). */
const maxChainBytes = 0x1_0000_0000;

/**
 * A split virtqueue, device side (Virtio 1.2, 2.7).
 *
 *     descriptors   { address u64, length u32, flags u16, next u16 } [size]
 *     avail         flags u16, index u16, head u16 [size], used_event u16             the driver writes
 *     used          flags u16, index u16, { id u32, length u32 } [size], avail_event u16     we write
 *
 * The driver may change any of it at any time. So each field is read once, into a variable, and checked there; and a
 * used ring that lies over another one hurts nobody but the driver.
 *
 * Indexes and events are accessed as elements of typed arrays, by Atomics where order matters: a DataView may read 16
 * bits in two halves while the driver counts on. Atomics are sequentially consistent, on x86 a store is an exchange:
 * that is the full fence which the protocol needs between telling the driver something and looking what it said.
 */
export class Virtqueue {
  readonly size: number;
  readonly #memory: GuestMemory;
  readonly #features: QueueFeatures;
  readonly #descriptors: Uint32Array;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedEntries: Uint32Array;
  readonly #usedArea: MemoryArea;
  /** The indirect table that was last walked. */
  readonly #table: MemoryPlace = { view: new DataView(new ArrayBuffer(0)), base: 0 };
  /** Where the events lie in their rings, in units of 16 bits. */
  readonly #usedEvent: number;
  readonly #availEvent: number;
  #nextAvail = 0;
  /** The avail index when last looked at. */
  #availIndex = 0;
  #nextUsed = 0;
  /** The used index as the driver sees it. */
  #published = 0;
  #fault: string | undefined;

  /** @throws VirtqueueError if the setup is not one that a device can work with */
  constructor(memory: GuestMemory, setup: QueueSetup, features: QueueFeatures) {
    const { size } = setup;
    if (!Number.isInteger(size) || size < 1 || size > maxQueueSize || (size & (size - 1)) !== 0) {
      throw new VirtqueueError(`a queue cannot have ${size} entries`);
    }
    this.size = size;
    this.#memory = memory;
    this.#features = features;
    const descriptors = ringArea(memory, 'descriptor table', setup.descriptors, size * descriptorBytes, 16);
    const avail = ringArea(memory, 'avail ring', setup.driver, 6 + 2 * size, 2);
    this.#usedArea = ringArea(memory, 'used ring', setup.device, 6 + 8 * size, 4);
    this.#descriptors = words32(descriptors);
    this.#avail = words16(avail);
    this.#used = words16(this.#usedArea);
    this.#usedEntries = words32(this.#usedArea);
    this.#usedEvent = ringHeaderWords + size;
    this.#availEvent = ringHeaderWords + 4 * size;
  }

  /** Why the queue can no longer be used; undefined while all is well. Once set it stays. */
  get fault(): string | undefined {
    return this.#fault;
  }

  get position(): QueuePosition {
    return { nextAvail: this.#nextAvail, nextUsed: this.#nextUsed, signalled: this.#published };
  }

  /** @throws VirtqueueError if no queue of this size can stand there */
  set position(position: QueuePosition) {
    const { nextAvail, nextUsed, signalled } = position;
    for (const counter of [nextAvail, nextUsed, signalled]) {
      if (!Number.isInteger(counter) || counter < 0 || counter > 0xffff) {
        throw new VirtqueueError(`${counter} is no place in a ring`);
      }
    }
    const taken = (nextAvail - signalled) & 0xffff;
    if (taken > this.size || ((nextUsed - signalled) & 0xffff) > taken) {
      const where = `avail ${nextAvail}, used ${nextUsed}, signalled ${signalled}`;
      throw new VirtqueueError(`a queue of ${this.size} entries cannot stand at ${where}`);
    }
    this.#nextAvail = nextAvail;
    this.#availIndex = nextAvail;
    this.#nextUsed = nextUsed;
    this.#published = signalled;
  }

  /**
   * Takes the next request. False: there is none, or the ring is broken ({@link fault}). At most {@link size} requests
   * are taken between two calls of {@link publish}, whatever the driver does. Hot path.
   */
  pop(chain: DescriptorChain): boolean {
    if (this.#fault !== undefined) return false;
    if (this.#nextAvail === this.#availIndex && !this.#look()) return false;
    const head = this.#avail[ringHeaderWords + (this.#nextAvail & (this.size - 1))] as number;
    if (head >= this.size) return this.#break(`the avail ring names descriptor ${head} of ${this.size}`);
    chain.clear(head);
    if (!this.#walk(chain, head)) return false;
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return true;
  }

  /**
   * Reads the request `head` once more, which was taken before the queue was saved and is not given back yet. False: it is
   * none any more ({@link fault}).
   */
  popAgain(chain: DescriptorChain, head: number): boolean {
    if (this.#fault !== undefined) return false;
    if (head >= this.size) return this.#break(`a request is descriptor ${head} of ${this.size}`);
    chain.clear(head);
    return this.#walk(chain, head);
  }

  /** Gives the last `count` popped requests back to the ring, as if never taken. They must be the latest ones. */
  undoPop(count: number): void {
    this.#nextAvail = (this.#nextAvail - count) & 0xffff;
  }

  /** Writes a used entry; the driver does not see it before {@link publish}. Hot path. */
  push(head: number, bytesWritten: number): void {
    const slot = this.#nextUsed & (this.size - 1);
    this.#usedEntries[1 + 2 * slot] = head;
    this.#usedEntries[2 + 2 * slot] = bytesWritten;
    this.#usedArea.mark(4 + 8 * slot, 8);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
  }

  /** Shows the driver all that was pushed. True if the driver wants an interrupt for it. Hot path. */
  publish(): boolean {
    const before = this.#published;
    const after = this.#nextUsed;
    if (after === before) return false;
    Atomics.store(this.#used, RING_INDEX, after);
    this.#usedArea.mark(2, 2);
    this.#published = after;
    if (!this.#features.eventIndex) return (Atomics.load(this.#avail, RING_FLAGS) & AVAIL_NO_INTERRUPT) === 0;
    const event = Atomics.load(this.#avail, this.#usedEvent);
    return ((after - event - 1) & 0xffff) < ((after - before) & 0xffff); // 2.7.10.1: event lies in [before, after)
  }

  /** Asks the driver not to kick: the queue is being drained. */
  disableKicks(): void {
    // With event index nothing is to be done: the driver has passed avail_event and kicks no more.
    if (this.#features.eventIndex) return;
    Atomics.store(this.#used, RING_FLAGS, USED_NO_NOTIFY);
    this.#usedArea.mark(0, 2);
  }

  /** Asks the driver to kick for the next request. True if there is one already: drain again. */
  enableKicks(): boolean {
    if (this.#fault !== undefined) return false;
    if (this.#features.eventIndex) {
      Atomics.store(this.#used, this.#availEvent, this.#nextAvail);
      this.#usedArea.mark(2 * this.#availEvent, 2);
    } else {
      Atomics.store(this.#used, RING_FLAGS, 0);
      this.#usedArea.mark(0, 2);
    }
    return Atomics.load(this.#avail, RING_INDEX) !== this.#nextAvail;
  }

  /** Looks how far the driver has come. It cannot have made more requests than there are descriptors. */
  #look(): boolean {
    const index = Atomics.load(this.#avail, RING_INDEX);
    if (index === this.#nextAvail) return false;
    const waiting = (index - this.#nextAvail) & 0xffff;
    const taken = (this.#nextAvail - this.#published) & 0xffff;
    if (waiting + taken > this.size) {
      return this.#break(`the avail index is ${index}, too far from ${this.#nextAvail} for ${this.size} entries`);
    }
    this.#availIndex = index;
    return true;
  }

  /** Copies the chain of buffers from descriptor `head` on. */
  #walk(chain: DescriptorChain, head: number): boolean {
    let index = head;
    let entries = this.size;
    /** Whether the walk is in an indirect table. */
    let indirect = false;
    let walked = 0;
    for (;;) {
      let low: number;
      let high: number;
      let length: number;
      let flagsAndNext: number;
      if (!indirect) {
        const at = index * 4;
        low = this.#descriptors[at] as number;
        high = this.#descriptors[at + 1] as number;
        length = this.#descriptors[at + 2] as number;
        flagsAndNext = this.#descriptors[at + 3] as number;
      } else {
        const { view } = this.#table;
        const at = this.#table.base + index * descriptorBytes;
        low = view.getUint32(at, true);
        high = view.getUint32(at + 4, true);
        length = view.getUint32(at + 8, true);
        flagsAndNext = view.getUint32(at + 12, true);
      }
      const address = high * 0x1_0000_0000 + low; // exact below 2^53, and there is no RAM above

      if ((flagsAndNext & INDIRECT) !== 0) {
        if (indirect) return this.#break('an indirect table holds an indirect descriptor');
        if (!this.#features.indirect) return this.#break('an indirect descriptor was not agreed on');
        if ((flagsAndNext & NEXT) !== 0) return this.#break('a descriptor follows an indirect one');
        if (length === 0 || length % descriptorBytes !== 0 || length > this.size * descriptorBytes) {
          return this.#break(`an indirect table cannot have ${length} bytes in a queue of ${this.size} entries`);
        }
        if (!this.#memory.locate(address, length, this.#table)) {
          return this.#break(outside('an indirect table', address, length));
        }
        indirect = true;
        entries = length / descriptorBytes;
        index = 0;
        continue;
      }

      if (++walked > this.size) return this.#break('a chain loops, or is longer than the queue');
      if (!this.#add(chain, address, length, (flagsAndNext & WRITE) !== 0)) return false;
      if ((flagsAndNext & NEXT) === 0) return true;
      index = flagsAndNext >>> 16;
      if (index >= entries) return this.#break(`a descriptor names ${index} of ${entries} as the next`);
    }
  }

  #add(chain: DescriptorChain, address: number, length: number, writable: boolean): boolean {
    if (!writable && chain.count > chain.readable) return this.#break('a readable buffer follows a writable one');
    if (length === 0) return true;
    if (!this.#memory.reaches(address, length)) return this.#break(outside('a buffer', address, length));
    if (writable) chain.writableBytes += length;
    else chain.readableBytes += length;
    if (chain.readableBytes + chain.writableBytes > maxChainBytes) return this.#break('a chain is longer than 4 GiB');
    const at = chain.count;
    if (at === chain.addresses.length) throw new RangeError(`a chain for ${at} buffers pops from ${this.size} entries`);
    chain.addresses[at] = address;
    chain.lengths[at] = length;
    chain.count = at + 1;
    if (!writable) chain.readable = at + 1;
    return true;
  }

  #break(reason: string): false {
    this.#fault = reason;
    return false;
  }
}

function outside(what: string, address: number, length: number): string {
  return `${what} of ${length} bytes at 0x${address.toString(16)} is not in RAM`;
}

function ringArea(memory: GuestMemory, name: string, address: Gpa, bytes: number, alignment: number): MemoryArea {
  if (address % alignment !== 0) {
    throw new VirtqueueError(`the ${name} at 0x${address.toString(16)} is not aligned to ${alignment}`);
  }
  try {
    return memory.area(address, bytes);
  } catch (error) {
    if (!(error instanceof GuestMemoryError)) throw error;
    throw new VirtqueueError(outside(`the ${name}`, address, bytes));
  }
}

function words16(area: MemoryArea): Uint16Array {
  return new Uint16Array(area.view.buffer, area.view.byteOffset + area.base, Math.floor(area.length / 2));
}

function words32(area: MemoryArea): Uint32Array {
  return new Uint32Array(area.view.buffer, area.view.byteOffset + area.base, Math.floor(area.length / 4));
}
