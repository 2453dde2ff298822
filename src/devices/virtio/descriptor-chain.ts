import type { IoVector } from '../../host/mappings/io-vector.ts';
import { type Gpa, gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';

/**
 * The buffers of one request, copied out of the ring and checked: each lies in RAM, readable ones come first. An object
 * is reused for one request after another.
 *
 *     addresses, lengths   [0, readable) the device reads    [readable, count) the device writes
 *
 * How a driver cuts a request into buffers means nothing (Virtio 1.2, 2.6.4): both parts are streams of bytes.
 */
export class DescriptorChain {
  /** Index of the first descriptor: what the used ring gives back. */
  head = 0;
  count = 0;
  readable = 0;
  readableBytes = 0;
  writableBytes = 0;
  readonly addresses: Float64Array;
  readonly lengths: Uint32Array;

  /** @param capacity most descriptors of a chain: the queue's size */
  constructor(capacity: number) {
    this.addresses = new Float64Array(capacity);
    this.lengths = new Uint32Array(capacity);
  }

  clear(head: number): void {
    this.head = head;
    this.count = 0;
    this.readable = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  addressOf(index: number): Gpa {
    return gpa(this.addresses[index] as number);
  }

  lengthOf(index: number): number {
    return this.lengths[index] as number;
  }

  /** Copies up to `target.length` readable bytes from `offset` of the readable stream; the count copied. */
  read(memory: GuestMemory, offset: number, target: Uint8Array): number {
    let copied = 0;
    let skip = offset;
    for (let index = 0; index < this.readable && copied < target.length; index++) {
      const length = this.lengthOf(index);
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const part = Math.min(length - skip, target.length - copied);
      target.set(memory.slice(gpa(this.addressOf(index) + skip), part), copied);
      copied += part;
      skip = 0;
    }
    return copied;
  }

  /** Copies `source` to `offset` of the writable stream, as far as there is room; the count copied. */
  write(memory: GuestMemory, offset: number, source: Uint8Array): number {
    let copied = 0;
    let skip = offset;
    for (let index = this.readable; index < this.count && copied < source.length; index++) {
      const length = this.lengthOf(index);
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const part = Math.min(length - skip, source.length - copied);
      memory.write(gpa(this.addressOf(index) + skip), source.subarray(copied, copied + part));
      copied += part;
      skip = 0;
    }
    return copied;
  }

  /** Appends [offset, offset + length) of the readable stream to `target`; false if that has no room. Hot path. */
  gatherReadable(memory: GuestMemory, offset: number, length: number, target: IoVector): boolean {
    return this.#gather(memory, 0, this.readable, offset, length, target);
  }

  /**
   * As {@link gatherReadable}, of the writable stream. The bytes count as written only after {@link markWritten}, once
   * they are there. Hot path.
   */
  gatherWritable(memory: GuestMemory, offset: number, length: number, target: IoVector): boolean {
    return this.#gather(memory, this.readable, this.count, offset, length, target);
  }

  /** Records that [offset, offset + length) of the writable stream was written through an address. Hot path. */
  markWritten(memory: GuestMemory, offset: number, length: number): void {
    if (!memory.tracking) return;
    let skip = offset;
    let left = length;
    for (let index = this.readable; index < this.count && left > 0; index++) {
      const size = this.lengthOf(index);
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const part = Math.min(size - skip, left);
      memory.markWritten(gpa(this.addressOf(index) + skip), part);
      left -= part;
      skip = 0;
    }
  }

  #gather(memory: GuestMemory, from: number, to: number, offset: number, length: number, target: IoVector): boolean {
    let skip = offset;
    let left = length;
    for (let index = from; index < to && left > 0; index++) {
      const size = this.lengthOf(index);
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const part = Math.min(size - skip, left);
      if (!memory.gather(this.addresses, index, skip, part, target)) return false;
      left -= part;
      skip = 0;
    }
    return left === 0;
  }
}
