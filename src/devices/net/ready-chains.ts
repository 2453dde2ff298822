import { type IoVector, maxIoVectorEntries } from '../../host/mappings/io-vector.ts';
import type { MemfdMapping } from '../../host/mappings/mapping.ts';
import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';
import type { DeviceHost } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { bufferCountOffset, headerBytes, longestPacket, type PacketPort } from './packet-port.ts';
import type { PacketRanges } from './packet-tap.ts';

const iovecBytes = 16;

/** What {@link ReadyChains} are made of. */
export interface ReadyChainsParts {
  readonly memory: GuestMemory;
  readonly host: DeviceHost;
  readonly queue: Virtqueue;
  /** A packet may be spread over several chains. */
  readonly mergeable: boolean;
  /** For the chains and one entry more, of {@link maxIoVectorEntries}. */
  readonly vector: IoVector;
}

/**
 * Chains taken from the receive ring in advance, which stand ready for packets as one vector:
 *
 *     entries    [ used up | chain | chain | chain | overflow ]
 *                           ^ first
 *
 * Chains that a packet does not fill stand ready for the next one.
 */
export class ReadyChains {
  readonly #memory: GuestMemory;
  readonly #host: DeviceHost;
  readonly #queue: Virtqueue;
  readonly #vector: IoVector;
  readonly #mostChains: number;
  /** From #first on, modulo the length, a power of two. It grows, for most drivers need few and each is large. */
  #chains: readonly DescriptorChain[];
  #first = 0;
  #count = 0;
  #room = 0;
  #isFull = false;
  /** Entries of the vector before those of the first chain. */
  #usedEntries = 0;

  constructor({ memory, host, queue, mergeable, vector }: ReadyChainsParts) {
    this.#memory = memory;
    this.#host = host;
    this.#queue = queue;
    this.#vector = vector;
    this.#mostChains = mergeable ? queue.size : 1;
    this.#chains = [new DescriptorChain(queue.size)];
    vector.clear();
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Bytes that have room. */
  get room(): number {
    return this.#room;
  }

  /** No more chains can be made ready, however many the driver adds. As of the last {@link prepare}. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Takes chains from the ring until `bytes` have room, and one at least, as far as there are any. Hot path. */
  prepare(bytes: number): void {
    const queue = this.#queue;
    const vector = this.#vector;
    this.#isFull = false;
    while (this.#room < bytes || this.#count === 0) {
      if (this.#count === this.#mostChains) {
        this.#isFull = true;
        return;
      }
      if (this.#count === this.#chains.length) this.#grow();
      const chain = this.#at(this.#count);
      if (!queue.pop(chain)) {
        if (queue.fault !== undefined) this.#host.fail(queue.fault);
        return;
      }
      const entries = entriesOf(chain);
      if (vector.count + entries >= maxIoVectorEntries) this.#compact();
      if (vector.count + entries >= maxIoVectorEntries) {
        queue.undoPop(1);
        this.#isFull = true;
        if (this.#count === 0) this.#host.fail(`a buffer for packets has ${entries} pieces, more than one call fills`);
        return;
      }
      chain.gatherWritable(this.#memory, 0, chain.writableBytes, vector);
      this.#count++;
      this.#room += chain.writableBytes;
    }
  }

  /**
   * Has the port put a packet into the chains. What they have no room for goes to the overflow, at its offset in the
   * packet. The packet's bytes, or the negative errno. Hot path.
   */
  readFrom(port: PacketPort, overflow: MemfdMapping): number {
    const vector = this.#vector;
    const room = Math.min(this.#room, longestPacket);
    vector.addBehind(overflow, room, overflow.sizeBytes - room);
    const skip = this.#usedEntries;
    const length = port.readv(vector.address + skip * iovecBytes, vector.count - skip);
    vector.dropLast();
    return length;
  }

  /**
   * Gives the driver as many chains as a packet of so many bytes fills, which has room in them, and says in its header how
   * many they are. The driver does not see a part of them alone: that is up to who publishes the queue. Hot path.
   */
  use(bytes: number): void {
    let left = bytes;
    let used = 0;
    do {
      const chain = this.#at(used);
      const part = Math.min(left, chain.writableBytes);
      chain.markWritten(this.#memory, 0, part);
      this.#queue.push(chain.head, part);
      left -= part;
      used++;
      this.#room -= chain.writableBytes;
      this.#usedEntries += entriesOf(chain);
    } while (left > 0);
    this.#writeBufferCount(used);
    this.#first = (this.#first + used) & (this.#chains.length - 1);
    this.#count -= used;
    if (this.#count === 0) {
      this.#vector.clear();
      this.#usedEntries = 0;
    }
  }

  /** The first `bytes` of the room were written, though no packet uses them yet. */
  markWritten(bytes: number): void {
    let left = bytes;
    for (let index = 0; index < this.#count && left > 0; index++) {
      const chain = this.#at(index);
      const part = Math.min(left, chain.writableBytes);
      chain.markWritten(this.#memory, 0, part);
      left -= part;
    }
  }

  /** Fills `target` with [from, to) of the room. The ranges of it are no more than a vector holds. */
  gather(from: number, to: number, target: IoVector): void {
    target.clear();
    let start = 0;
    for (let index = 0; start < to; index++) {
      const chain = this.#at(index);
      const end = start + chain.writableBytes;
      if (end > from) {
        const skip = Math.max(0, from - start);
        chain.gatherWritable(this.#memory, skip, Math.min(end, to) - start - skip, target);
      }
      start = end;
    }
  }

  /** Sets `target` to the first `bytes` of the room. */
  describe(bytes: number, target: PacketRanges): void {
    target.clear();
    for (let index = 0; target.length < bytes; index++) {
      const chain = this.#at(index);
      target.append(chain, chain.readable, chain.count, bytes - target.length);
    }
  }

  /** Gives all of them back to the ring. */
  giveBack(): void {
    this.#queue.undoPop(this.#count);
    this.#vector.clear();
    this.#usedEntries = 0;
    this.#count = 0;
    this.#room = 0;
  }

  #at(index: number): DescriptorChain {
    return this.#chains[(this.#first + index) & (this.#chains.length - 1)] as DescriptorChain;
  }

  #grow(): void {
    const { size } = this.#queue;
    const chains = this.#chains.map((_, index) => this.#at(index));
    this.#chains = [...chains, ...chains.map(() => new DescriptorChain(size))];
    this.#first = 0;
  }

  /** Moves the entries of the chains to the front of the vector. */
  #compact(): void {
    this.#vector.clear();
    this.#usedEntries = 0;
    for (let index = 0; index < this.#count; index++) {
      const chain = this.#at(index);
      chain.gatherWritable(this.#memory, 0, chain.writableBytes, this.#vector);
    }
  }

  /** num_buffers in the header, which lies in one piece as good as always. Hot path. */
  #writeBufferCount(buffers: number): void {
    const chain = this.#at(0);
    if (chain.count > chain.readable && chain.lengthOf(chain.readable) >= headerBytes) {
      this.#memory.writeU16(gpa(chain.addressOf(chain.readable) + bufferCountOffset), buffers);
      return;
    }
    this.#writeByte(bufferCountOffset, buffers & 0xff);
    this.#writeByte(bufferCountOffset + 1, buffers >> 8);
  }

  /** Writes byte `offset` of the packet in the chains. */
  #writeByte(offset: number, value: number): void {
    let skip = offset;
    for (let at = 0; ; at++) {
      const chain = this.#at(at);
      for (let index = chain.readable; index < chain.count; index++) {
        if (skip < chain.lengthOf(index)) {
          this.#memory.writeU8(gpa(chain.addressOf(index) + skip), value);
          return;
        }
        skip -= chain.lengthOf(index);
      }
    }
  }
}

/** How many entries of the vector a chain has. */
function entriesOf(chain: DescriptorChain): number {
  return chain.count - chain.readable;
}
