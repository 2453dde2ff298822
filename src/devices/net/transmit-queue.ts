import { EAGAIN } from '../../host/errno.ts';
import { viewMemory } from '../../host/libc/memory.ts';
import { type IoVector, IoVectors } from '../../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { turnBytes, turnRequests } from '../virtio/takes-turns.ts';
import type { DeviceHost } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { count, type NetCounters, netCounter } from './net-counters.ts';
import { headerBytes, longestPacket, type PacketPort, shortestPacket } from './packet-port.ts';
import { PacketRanges, type PacketSink, TapPoint } from './packet-tap.ts';

/** The driver is shown used buffers after so many packets, and at the end of a turn. */
const publishPackets = 16;

/**
 * Packets from the driver to the port (Virtio 1.2, 5.1.6.2), straight from guest memory, headers as the driver made
 * them: the kernel checks those, and refuses what makes no sense.
 *
 * A packet that the port cannot take now is kept, popped, until the port tells by an edge that it can.
 */
export class TransmitQueue implements PacketSink, Closable {
  /** Where packets on their way to the port can be seen, kept back and put in. */
  readonly tap: TapPoint = new TapPoint(this);
  readonly #memory: GuestMemory;
  readonly #port: PacketPort;
  readonly #host: DeviceHost;
  readonly #counters: NetCounters;
  readonly #owner = new Owner();
  readonly #chain: DescriptorChain;
  readonly #vector: IoVector;
  /** For packets that are put in, which lie in no memory that has an address. */
  readonly #putVector: IoVector;
  readonly #putAddress: number;
  readonly #putBytes: Uint8Array;
  readonly #ranges: PacketRanges;

  #queue: Virtqueue | undefined;
  /** The chain is a packet that the port has not taken yet. */
  #blocked = false;
  /** The listener has seen the packet that comes next: it was blocked and given back to the ring. */
  #seen = false;
  /** The listener wants the packet that comes next later. */
  #later = false;
  #isDue = false;
  #refusedPut = false;
  #unpublishedPackets = 0;
  linkUp = true;

  constructor(memory: GuestMemory, port: PacketPort, host: DeviceHost, counters: NetCounters, largestQueue: number) {
    this.#memory = memory;
    this.#port = port;
    this.#host = host;
    this.#counters = counters;
    this.#chain = new DescriptorChain(largestQueue);
    this.#ranges = new PacketRanges(memory, largestQueue);
    try {
      const put = this.#owner.own(new AnonymousMapping('packets put in', longestPacket));
      this.#putAddress = put.address;
      this.#putBytes = new Uint8Array(viewMemory(put.address, longestPacket));
      const [vector, putVector] = this.#owner.own(new IoVectors(2, largestQueue)).vectors;
      this.#vector = vector as IoVector;
      this.#putVector = putVector as IoVector;
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  start(queue: Virtqueue): void {
    this.stop();
    this.#queue = queue;
  }

  stop(): void {
    this.#queue = undefined;
    this.#blocked = false;
    this.#seen = false;
    this.#later = false;
    this.#isDue = false;
  }

  /** Gives a packet that the port did not take back to the ring. Until the card is resumed nobody calls {@link run}. */
  pause(): void {
    if (this.#blocked) {
      this.#queue?.undoPop(1);
      this.#blocked = false;
      this.#seen = true;
    }
    this.#publish();
  }

  again(): void {
    if (this.#later) this.#isDue = true;
    this.#later = false;
  }

  /** It is to have a turn, since {@link again}. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** That the port takes packets again is a reason to run. */
  get isBlocked(): boolean {
    return this.#blocked;
  }

  /** The port may take packets again. */
  portWritable(): void {
    if (this.#refusedPut && !this.#blocked && !this.#seen) this.#offerRoom();
  }

  /** Sends packets, one turn's worth. True: there may be more. Hot path. */
  run(): boolean {
    const queue = this.#queue;
    if (queue === undefined) return false;
    this.#isDue = false;
    if (this.#later) return false;
    if (this.#blocked && !this.#sendBlocked(queue)) return false;
    if (this.#refusedPut) this.#offerRoom();
    queue.disableKicks();
    let bytes = 0;
    for (let left = turnRequests; left > 0 && bytes < turnBytes; left--) {
      while (!queue.pop(this.#chain)) {
        this.#publish();
        if (queue.fault !== undefined) {
          this.#host.fail(queue.fault);
          return false;
        }
        if (!queue.enableKicks()) return false;
        queue.disableKicks();
      }
      bytes += this.#chain.readableBytes;
      if (!this.#send(queue)) {
        this.#publish();
        return false;
      }
    }
    this.#publish();
    return true;
  }

  put(packet: Uint8Array): boolean {
    if (!this.linkUp) {
      count(this.#counters, netCounter.sendLinkDown, 1);
      return true;
    }
    // After the packet that was blocked, for it came first.
    if (!this.#blocked && !this.#seen) {
      this.#putBytes.set(packet);
      this.#putVector.clear();
      this.#putVector.add(this.#putAddress, packet.length);
      if (this.#write(this.#putVector, packet.length)) return true;
    }
    this.#refusedPut = true;
    return false;
  }

  close(): void {
    this.stop();
    this.#owner.close();
  }

  /** Sends the popped chain. False: the port or the listener cannot take it now. Hot path. */
  #send(queue: Virtqueue): boolean {
    const chain = this.#chain;
    const length = chain.readableBytes;
    const seen = this.#seen;
    this.#seen = false;
    if (length < shortestPacket) count(this.#counters, netCounter.sendTooShort, 1);
    else if (length > longestPacket) count(this.#counters, netCounter.sendTooLong, 1);
    else if (!this.linkUp) count(this.#counters, netCounter.sendLinkDown, 1);
    else {
      const listener = this.tap.listener;
      const verdict = listener === undefined || seen ? 'pass' : listener.packet(this.#describe());
      if (verdict === 'later') {
        queue.undoPop(1);
        this.#later = true;
        return false;
      }
      if (verdict === 'hold') count(this.#counters, netCounter.sendHeld, 1);
      else {
        this.#vector.clear();
        chain.gatherReadable(this.#memory, 0, length, this.#vector);
        if (!this.#write(this.#vector, length)) {
          this.#blocked = true;
          return false;
        }
      }
    }
    this.#finish(queue);
    return true;
  }

  /** Tries the kept packet again; it stands in the vector. */
  #sendBlocked(queue: Virtqueue): boolean {
    if (!this.linkUp) count(this.#counters, netCounter.sendLinkDown, 1);
    else if (!this.#write(this.#vector, this.#chain.readableBytes)) return false;
    this.#blocked = false;
    this.#finish(queue);
    return true;
  }

  /** Writes a packet. False: the port cannot take it now. One that it will never take is dropped. Hot path. */
  #write(vector: IoVector, length: number): boolean {
    const result = this.#port.writev(vector.address, vector.count);
    if (result === -EAGAIN) return false;
    if (result < 0) {
      count(this.#counters, netCounter.sendRefused, 1);
      return true;
    }
    count(this.#counters, netCounter.sentPackets, 1);
    count(this.#counters, netCounter.sentBytes, length - headerBytes);
    return true;
  }

  #finish(queue: Virtqueue): void {
    queue.push(this.#chain.head, 0);
    if (++this.#unpublishedPackets >= publishPackets) this.#publish();
  }

  #describe(): PacketRanges {
    this.#ranges.clear();
    this.#ranges.append(this.#chain, 0, this.#chain.readable, this.#chain.readableBytes);
    return this.#ranges;
  }

  #publish(): void {
    this.#unpublishedPackets = 0;
    if (this.#queue?.publish()) this.#host.interruptQueue();
  }

  #offerRoom(): void {
    this.#refusedPut = false;
    this.tap.listener?.room();
  }
}
