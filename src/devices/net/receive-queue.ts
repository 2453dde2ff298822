import { EAGAIN, EINTR } from '../../host/errno.ts';
import { type IoVector, IoVectors, maxIoVectorEntries } from '../../host/io-vector.ts';
import { tryPreadv, tryPwritev, viewMemory } from '../../host/libc.ts';
import { MemfdMapping } from '../../host/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { turnBytes, turnRequests } from '../virtio/takes-turns.ts';
import type { DeviceHost } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { count, type NetCounters, netCounter } from './net-counters.ts';
import {
  bufferCountOffset,
  headerBytes,
  longestPacket,
  longestPlainPacket,
  type PacketPort,
  shortestPacket,
} from './packet-port.ts';
import { type PacketListener, PacketRanges, type PacketSink, TapPoint } from './packet-tap.ts';

const iovecBytes = 16;
/** Longer than the longest packet, so that one that is longer still is seen to be. */
const overflowBytes = longestPacket + 1;
/** The driver is shown packets after so many of them, or so many bytes, and at the end of a turn. */
const showPackets = 16;
const showBytes = 65_536;
/** It is interrupted when there is no more to be had, or after so many turns: on a busy host it runs in our place. */
const turnsToInterrupt = 4;
/** No longer than that is a short packet. */
const shortPacket = longestPlainPacket();
/** After so many short packets room is made ready for another one, and not for the longest that may come. */
const shortPacketsInARow = 64;

/**
 * Packets from the port to the driver (Virtio 1.2, 5.1.6.3), without a copy: chains are taken from the ring in advance
 * and stand ready as one vector, into which the port puts a packet.
 *
 *     entries    [ used up | chain | chain | chain | overflow ]
 *                           ^ first
 *
 * Chains that a packet does not fill stand ready for the next one. What does not fit goes to the overflow, which is
 * memory of our own: the packet then waits for more buffers, its beginning in the ready chains and its end in the
 * overflow (or, without mergeable buffers, is dropped). Linux fills its queue up when half of it is used, so that this is
 * no rare case under load. The overflow is a file, for the kernel copies faster than we do.
 *
 * The port is read until it has no more, so that it tells by an edge when there is. Nobody reads it while there are no
 * buffers; what comes then waits in the port, and when that is full the port drops it. It would wake us for each of those
 * packets, so the first one has it keep still until it has been read empty again.
 */
export class ReceiveQueue implements PacketSink, Closable {
  /** Where packets on their way to the driver can be seen, kept back and put in. */
  readonly tap: TapPoint = new TapPoint(this);
  readonly #memory: GuestMemory;
  readonly #port: PacketPort;
  readonly #host: DeviceHost;
  readonly #counters: NetCounters;
  readonly #owner = new Owner();
  readonly #vector: IoVector;
  readonly #overflowOnly: IoVector;
  readonly #overflow: MemfdMapping;
  readonly #overflowBytes: Uint8Array;
  /** For what goes from the overflow into chains, or back. */
  readonly #moved: IoVector;
  readonly #ranges: PacketRanges;

  #queue: Virtqueue | undefined;
  #paused = false;
  /** A packet may be spread over several chains. */
  #mergeable = false;
  #wanted = shortestPacket;
  /** Short packets since one that was not. */
  #shortPackets = 0;
  /** Ready chains, from #first on, modulo the length. Made when first needed, for most drivers need few. */
  #chains: (DescriptorChain | undefined)[] = [];
  /** How many entries of the vector each has. */
  #entries: Uint16Array = new Uint16Array(0);
  #first = 0;
  #ready = 0;
  /** Bytes in ready chains. */
  #room = 0;
  /** Entries of the vector before those of the first ready chain. */
  #usedEntries = 0;
  /** No more chains can be made ready, however many the driver adds. */
  #full = false;
  /** Length of a packet that waits for buffers; 0 if none does. */
  #waitingBytes = 0;
  /** Where in it the part begins that lies in the overflow, at the same offset there. */
  #waitingFrom = 0;
  /** The port had no more packets when last asked. */
  #portEmpty = false;
  #kicksWanted = false;
  /** The port told of packets when there were no buffers known for them. */
  #toldInVain = false;
  #refusedPut = false;
  /** A listener is looking at what lies in the ready chains. */
  #isListening = false;
  #unseenPackets = 0;
  #unseenBytes = 0;
  /** The driver is to be interrupted at the end of the turn. */
  #interruptWanted = false;
  /** Turns since it was last interrupted. */
  #turns = 0;
  /** The port tells of packets. */
  #listens = true;
  linkUp = true;

  constructor(memory: GuestMemory, port: PacketPort, host: DeviceHost, counters: NetCounters) {
    this.#memory = memory;
    this.#port = port;
    this.#host = host;
    this.#counters = counters;
    this.#ranges = new PacketRanges(memory, maxIoVectorEntries);
    try {
      this.#overflow = this.#owner.own(new MemfdMapping('packet overflow', overflowBytes));
      this.#overflowBytes = new Uint8Array(viewMemory(this.#overflow.address, overflowBytes));
      const [vector, moved, overflowOnly] = this.#owner.own(new IoVectors(3, maxIoVectorEntries)).vectors;
      this.#vector = vector as IoVector;
      this.#moved = moved as IoVector;
      this.#overflowOnly = overflowOnly as IoVector;
      this.#overflowOnly.add(this.#overflow.address, overflowBytes);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  start(queue: Virtqueue, mergeable: boolean): void {
    this.#setQueue(queue, mergeable);
    this.#paused = false;
    queue.disableKicks();
    this.#kicksWanted = false;
  }

  /** As {@link start}, paused, of a queue that was saved with the packet that waited for buffers, if one did. */
  load(queue: Virtqueue, mergeable: boolean, waiting: Uint8Array): void {
    this.#setQueue(queue, mergeable);
    this.#paused = true;
    // What the ring says of it is looked at by nobody: the next turn says it anew.
    this.#kicksWanted = true;
    this.#overflowBytes.set(waiting);
    this.#waitingBytes = waiting.length;
  }

  #setQueue(queue: Virtqueue, mergeable: boolean): void {
    this.stop();
    this.#queue = queue;
    this.#mergeable = mergeable;
    this.#chains = new Array<DescriptorChain | undefined>(queue.size).fill(undefined);
    this.#entries = new Uint16Array(queue.size);
    this.#first = 0;
    this.#portEmpty = false;
  }

  /** Forgets the queue, and the packet that waits. */
  stop(): void {
    this.#queue = undefined;
    this.#interruptWanted = false;
    this.#turns = 0;
    this.#forgetWaiting();
    this.#forgetReady();
  }

  /** Room for a packet of so many bytes is made ready before the port is asked for one. */
  set wanted(bytes: number) {
    this.#wanted = bytes;
  }

  /** Gives what stands ready back to the ring. A packet that waits goes on waiting. */
  pause(): void {
    this.#paused = true;
    if (this.#waitingFrom > 0) this.#keepWhole();
    this.#queue?.undoPop(this.#ready);
    this.#forgetReady();
    this.#publish();
  }

  resume(): void {
    this.#paused = false;
  }

  /** A packet that waits for buffers, as a copy; empty if none does. While paused all of it is in the overflow. */
  get waiting(): Uint8Array {
    return this.#overflowBytes.slice(0, this.#waitingBytes);
  }

  /** New buffers of the driver are a reason to run. While the port is empty they are none. */
  get awaitsBuffers(): boolean {
    return this.#kicksWanted || !this.#portEmpty;
  }

  /** The port may have packets again. */
  portReadable(): void {
    this.#portEmpty = false;
    this.#toldInVain = this.#kicksWanted;
  }

  /** Brings packets in, one turn's worth. True: there may be more. Hot path. */
  run(): boolean {
    const queue = this.#queue;
    if (queue === undefined || this.#paused) return false;
    if (this.#kicksWanted) {
      this.#kicksWanted = false;
      queue.disableKicks();
    }
    if (this.#refusedPut) this.#offerRoom();
    let bytes = 0;
    for (let left = turnRequests; left > 0 && bytes < turnBytes; left--) {
      if (this.#waitingBytes > 0 && !this.#bringWaiting(queue)) return this.#stopForBuffers(queue);
      if (this.#portEmpty) return this.#endTurn(false);
      const result = this.linkUp ? this.#read(queue) : this.#discard();
      if (result === 0) return this.#stopForBuffers(queue);
      if (result > 0) bytes += result;
      else if (result !== -EINTR) {
        if (result !== -EAGAIN) count(this.#counters, netCounter.receiveErrors, 1);
        this.#portEmpty = true;
        if (!this.#listens) this.#listen(true);
      }
    }
    return this.#endTurn(true);
  }

  put(packet: Uint8Array): boolean {
    const queue = this.#queue;
    if (queue !== undefined && !this.#paused && !this.#isListening && this.#waitingBytes === 0) {
      if (!this.linkUp) {
        count(this.#counters, netCounter.receiveLinkDown, 1);
        return true;
      }
      do {
        this.#prepare(queue, packet.length);
        if (this.#ready > 0 && packet.length <= this.#room) {
          this.#overflowBytes.set(packet);
          this.#moveIn(0, packet.length);
          this.#deliver(queue, packet.length);
          this.#publish();
          return true;
        }
        if (this.#full) {
          count(this.#counters, netCounter.receiveNoRoom, 1);
          return true;
        }
      } while (this.#askForKick(queue));
    }
    this.#refusedPut = true;
    return false;
  }

  close(): void {
    this.stop();
    this.#owner.close();
  }

  /** Reads one packet into ready chains; its bytes, 0 if there are no chains, or the negative errno. Hot path. */
  #read(queue: Virtqueue): number {
    // The kernel looks at each range that a vector has, and a long packet has the overflow.
    this.#prepare(queue, this.#shortPackets < shortPacketsInARow ? this.#wanted : Math.min(this.#wanted, shortPacket));
    if (this.#ready === 0) return 0;
    const vector = this.#vector;
    const room = Math.min(this.#room, longestPacket);
    vector.addBehind(this.#overflow, room, overflowBytes - room);
    const skip = this.#usedEntries;
    const length = this.#port.readv(vector.address + skip * iovecBytes, vector.count - skip);
    vector.dropLast();
    if (length <= 0) return length === 0 ? -EAGAIN : length;
    this.#shortPackets = length <= shortPacket ? this.#shortPackets + 1 : 0;
    if (length < shortestPacket) this.#drop(length, netCounter.receiveTooShort);
    else if (length > longestPacket) this.#drop(length, netCounter.receiveTooLong);
    else if (length <= this.#room) this.#pass(queue, length);
    else if (this.#full) this.#drop(length, netCounter.receiveNoRoom);
    else this.#keep(length);
    return length;
  }

  /** Reads one packet and drops it: nothing comes in while the link is down. */
  #discard(): number {
    const length = this.#port.readv(this.#overflowOnly.address, this.#overflowOnly.count);
    if (length > 0) count(this.#counters, netCounter.receiveLinkDown, 1);
    return length === 0 ? -EAGAIN : length;
  }

  /** Takes chains from the ring until `bytes` have room. Hot path. */
  #prepare(queue: Virtqueue, bytes: number): void {
    const most = this.#mergeable ? queue.size : 1;
    this.#full = false;
    while (this.#room < bytes || this.#ready === 0) {
      if (this.#ready === most) {
        this.#full = true;
        return;
      }
      const slot = (this.#first + this.#ready) & (queue.size - 1);
      const chain = this.#chainAt(slot, queue.size);
      if (!queue.pop(chain)) {
        if (queue.fault !== undefined) this.#host.fail(queue.fault);
        return;
      }
      const entries = chain.count - chain.readable;
      if (this.#vector.count + entries >= maxIoVectorEntries) this.#compact(queue.size);
      // A chain has at most as many buffers as the queue, so that this is not the first one.
      if (this.#vector.count + entries >= maxIoVectorEntries) {
        queue.undoPop(1);
        this.#full = true;
        return;
      }
      chain.gatherWritable(this.#memory, 0, chain.writableBytes, this.#vector);
      this.#entries[slot] = entries;
      this.#ready++;
      this.#room += chain.writableBytes;
    }
  }

  #chainAt(slot: number, capacity: number): DescriptorChain {
    let chain = this.#chains[slot];
    if (chain === undefined) {
      chain = new DescriptorChain(capacity);
      this.#chains[slot] = chain;
    }
    return chain;
  }

  /** Moves the entries of ready chains to the front of the vector. */
  #compact(size: number): void {
    this.#vector.clear();
    this.#usedEntries = 0;
    for (let index = 0; index < this.#ready; index++) {
      const chain = this.#chains[(this.#first + index) & (size - 1)] as DescriptorChain;
      chain.gatherWritable(this.#memory, 0, chain.writableBytes, this.#vector);
    }
  }

  /** A packet lies in the ready chains and goes to the driver, unless a listener takes it over. Hot path. */
  #pass(queue: Virtqueue, length: number): void {
    if (this.tap.listener !== undefined && this.#isHeld(this.tap.listener, length)) {
      this.#drop(length, netCounter.receiveHeld);
      return;
    }
    this.#deliver(queue, length);
  }

  #isHeld(listener: PacketListener, length: number): boolean {
    this.#isListening = true;
    try {
      return listener.packet(this.#describe(length)) === 'hold';
    } finally {
      this.#isListening = false;
    }
  }

  /** Uses as many ready chains as the packet fills. The driver does not see a part of them alone. Hot path. */
  #deliver(queue: Virtqueue, length: number): void {
    const mask = queue.size - 1;
    let left = length;
    let used = 0;
    const first = this.#first;
    do {
      const slot = (first + used) & mask;
      const chain = this.#chains[slot] as DescriptorChain;
      const part = Math.min(left, chain.writableBytes);
      chain.markWritten(this.#memory, 0, part);
      queue.push(chain.head, part);
      left -= part;
      used++;
      this.#room -= chain.writableBytes;
      this.#usedEntries += this.#entries[slot] as number;
    } while (left > 0);
    this.#writeBufferCount(first, mask, used);
    this.#first = (first + used) & mask;
    this.#ready -= used;
    if (this.#ready === 0) {
      this.#vector.clear();
      this.#usedEntries = 0;
    }
    count(this.#counters, netCounter.receivedPackets, 1);
    count(this.#counters, netCounter.receivedBytes, length - headerBytes);
    this.#unseenPackets++;
    this.#unseenBytes += length;
    if (this.#unseenPackets >= showPackets || this.#unseenBytes >= showBytes) this.#show(queue);
  }

  /** num_buffers in the header, which lies in one piece as good as always. Hot path. */
  #writeBufferCount(first: number, mask: number, buffers: number): void {
    const chain = this.#chains[first] as DescriptorChain;
    if (chain.count > chain.readable && chain.lengthOf(chain.readable) >= headerBytes) {
      this.#memory.writeU16(gpa(chain.addressOf(chain.readable) + bufferCountOffset), buffers);
      return;
    }
    this.#writeByte(first, mask, bufferCountOffset, buffers & 0xff);
    this.#writeByte(first, mask, bufferCountOffset + 1, buffers >> 8);
  }

  /** Writes byte `offset` of the packet in the ready chains. */
  #writeByte(first: number, mask: number, offset: number, value: number): void {
    let skip = offset;
    for (let slot = first; ; slot = (slot + 1) & mask) {
      const chain = this.#chains[slot] as DescriptorChain;
      for (let index = chain.readable; index < chain.count; index++) {
        if (skip < chain.lengthOf(index)) {
          this.#memory.writeU8(gpa(chain.addressOf(index) + skip), value);
          return;
        }
        skip -= chain.lengthOf(index);
      }
    }
  }

  /** The driver gets nothing of the `length` bytes that were read; the chains stay ready. Some of them were written. */
  #drop(length: number, why: number): void {
    count(this.#counters, why, 1);
    this.#markReady(length);
  }

  #markReady(length: number): void {
    if (!this.#memory.tracking) return;
    let left = length;
    for (let index = 0; index < this.#ready && left > 0; index++) {
      const chain = this.#chains[(this.#first + index) & (this.#chains.length - 1)] as DescriptorChain;
      const part = Math.min(left, chain.writableBytes);
      chain.markWritten(this.#memory, 0, part);
      left -= part;
    }
  }

  /** A packet has no room yet: the rest of it stays in the overflow, at its offset in the packet. */
  #keep(length: number): void {
    this.#waitingBytes = length;
    this.#waitingFrom = this.#room;
    this.#markReady(length);
  }

  /** Moves the beginning of a packet that waits from the ready chains to the overflow too. */
  #keepWhole(): void {
    this.#gatherReady(0, this.#waitingFrom);
    tryPwritev(this.#overflow.fd, this.#moved.address, this.#moved.count, 0);
    this.#waitingFrom = 0;
  }

  /** Brings in the packet that waits. False if there is still no room. */
  #bringWaiting(queue: Virtqueue): boolean {
    const length = this.#waitingBytes;
    if (this.linkUp) {
      this.#prepare(queue, length);
      if (length > this.#room && !this.#full) return false;
    }
    const from = this.#waitingFrom;
    this.#forgetWaiting();
    if (!this.linkUp) count(this.#counters, netCounter.receiveLinkDown, 1);
    else if (length > this.#room) count(this.#counters, netCounter.receiveNoRoom, 1);
    else {
      this.#moveIn(from, length);
      this.#pass(queue, length);
    }
    return true;
  }

  #forgetWaiting(): void {
    this.#waitingBytes = 0;
    this.#waitingFrom = 0;
  }

  /** Copies [from, to) of a packet from the overflow into ready chains, which have room for it. */
  #moveIn(from: number, to: number): void {
    this.#gatherReady(from, to);
    tryPreadv(this.#overflow.fd, this.#moved.address, this.#moved.count, from);
  }

  /** Gathers [from, to) of the room in ready chains. They have no more ranges than a vector holds. */
  #gatherReady(from: number, to: number): void {
    this.#moved.clear();
    let start = 0;
    for (let index = 0; start < to; index++) {
      const chain = this.#chains[(this.#first + index) & (this.#chains.length - 1)] as DescriptorChain;
      const end = start + chain.writableBytes;
      if (end > from) {
        const skip = Math.max(0, from - start);
        chain.gatherWritable(this.#memory, skip, Math.min(end, to) - start - skip, this.#moved);
      }
      start = end;
    }
  }

  /** The first `length` bytes of the ready chains. */
  #describe(length: number): PacketRanges {
    this.#ranges.clear();
    for (let index = 0; this.#ranges.length < length; index++) {
      const chain = this.#chains[(this.#first + index) & (this.#chains.length - 1)] as DescriptorChain;
      this.#ranges.append(chain, chain.readable, chain.count, length - this.#ranges.length);
    }
    return this.#ranges;
  }

  /** Ends a turn for want of buffers. True if some came just now. */
  #stopForBuffers(queue: Virtqueue): boolean {
    this.#publish();
    if (this.#askForKick(queue)) return true;
    if (this.#toldInVain && this.#listens) this.#listen(false);
    return false;
  }

  /** Asks for a kick for the next buffers. True if there are some already. */
  #askForKick(queue: Virtqueue): boolean {
    if (queue.fault !== undefined) return false;
    if (queue.enableKicks()) {
      queue.disableKicks();
      return true;
    }
    this.#kicksWanted = true;
    return false;
  }

  #endTurn(more: boolean): boolean {
    if (more && ++this.#turns < turnsToInterrupt) this.#show(this.#queue as Virtqueue);
    else this.#publish();
    // What a listener wanted to put in while it looked at a packet.
    return more || (this.#refusedPut && !this.#kicksWanted);
  }

  /** Shows the driver what there is. One that is looking already goes on with that. */
  #show(queue: Virtqueue): void {
    this.#unseenPackets = 0;
    this.#unseenBytes = 0;
    if (queue.publish()) this.#interruptWanted = true;
  }

  /** Shows the driver all there is, and interrupts it if it waits for any of that. */
  #publish(): void {
    if (this.#queue !== undefined) this.#show(this.#queue);
    this.#turns = 0;
    if (!this.#interruptWanted) return;
    this.#interruptWanted = false;
    this.#host.interruptQueue();
  }

  #listen(isWanted: boolean): void {
    this.#listens = isWanted;
    this.#port.listen(isWanted);
  }

  #offerRoom(): void {
    this.#refusedPut = false;
    this.tap.listener?.room();
  }

  #forgetReady(): void {
    this.#vector.clear();
    this.#usedEntries = 0;
    this.#ready = 0;
    this.#room = 0;
  }
}
