import { EAGAIN, EINTR } from '../../host/errno.ts';
import { tryPreadv, tryPwritev } from '../../host/libc/descriptors.ts';
import { viewMemory } from '../../host/libc/memory.ts';
import { type IoVector, IoVectors, maxIoVectorEntries } from '../../host/mappings/io-vector.ts';
import { MemfdMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { turnBytes, turnRequests } from '../virtio/takes-turns.ts';
import type { DeviceHost } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { count, type NetCounters, netCounter } from './net-counters.ts';
import { PacketNotices } from './packet-notices.ts';
import { headerBytes, longestPacket, longestPlainPacket, type PacketPort, shortestPacket } from './packet-port.ts';
import { type PacketListener, PacketRanges, type PacketSink, TapPoint, type Verdict } from './packet-tap.ts';
import { ReadyChains } from './ready-chains.ts';

/** Longer than the longest packet, so that one that is longer still is seen to be. */
const overflowBytes = longestPacket + 1;
/** No longer than that is a short packet. */
const shortPacket = longestPlainPacket();
/** After so many short packets room is made ready for another one, and not for the longest that may come. */
const shortPacketsInARow = 64;

/** What there is while a driver runs us. */
interface Running {
  readonly queue: Virtqueue;
  readonly chains: ReadyChains;
  readonly notices: PacketNotices;
}

/**
 * Packets from the port to the driver (Virtio 1.2, 5.1.6.3), without a copy: the port puts each into buffers that stand
 * ready ({@link ReadyChains}).
 *
 * What does not fit goes to the overflow, which is memory of our own: the packet then waits for more buffers, its
 * beginning in the ready chains and its end in the overflow (or, without mergeable buffers, is dropped). Linux fills its
 * queue up when half of it is used, so that this is no rare case under load. The overflow is a file, for the kernel copies
 * faster than we do.
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

  #running: Running | undefined;
  #paused = false;
  #wanted = shortestPacket;
  /** Short packets since one that was not. */
  #shortPackets = 0;
  /** Length of a packet that waits for buffers; 0 if none does. */
  #waitingBytes = 0;
  /** Where in it the part begins that lies in the overflow, at the same offset there. */
  #waitingFrom = 0;
  /** The port had no more packets when last asked. */
  #portEmpty = false;
  #kicksWanted = false;
  /** The port tells of packets. */
  #listens = true;
  /** The port told of packets when there were no buffers known for them. */
  #toldInVain = false;
  #refusedPut = false;
  /** The listener wants the packet that waits later. */
  #later = false;
  #isDue = false;
  /** A listener is looking at what lies in the ready chains. */
  #isListening = false;
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
    this.#running = {
      queue,
      chains: new ReadyChains({ memory: this.#memory, host: this.#host, queue, mergeable, vector: this.#vector }),
      notices: new PacketNotices(queue, this.#host),
    };
    this.#portEmpty = false;
  }

  /** Forgets the queue, and the packet that waits. */
  stop(): void {
    this.#running = undefined;
    this.#forgetWaiting();
  }

  /** Room for a packet of so many bytes is made ready before the port is asked for one. */
  set wanted(bytes: number) {
    this.#wanted = bytes;
  }

  /** Gives what stands ready back to the ring. A packet that waits goes on waiting. */
  pause(): void {
    this.#paused = true;
    if (this.#running === undefined) return;
    const { chains, notices } = this.#running;
    if (this.#waitingFrom > 0) this.#keepWhole(chains);
    chains.giveBack();
    notices.publish();
  }

  resume(): void {
    this.#paused = false;
  }

  /** A packet that waits for buffers, as a copy; empty if none does. While paused all of it is in the overflow. */
  get waiting(): Uint8Array {
    return this.#overflowBytes.slice(0, this.#waitingBytes);
  }

  /** Takes the packet that {@link waiting} gives; it waits no more. While paused. */
  takeWaiting(): Uint8Array {
    const { waiting } = this;
    this.#forgetWaiting();
    return waiting;
  }

  /** New buffers of the driver are a reason to run. While the port is empty they are none. */
  get awaitsBuffers(): boolean {
    return this.#kicksWanted || !this.#portEmpty;
  }

  /** The port may have packets again. */
  portReadable(): void {
    this.#portEmpty = false;
    this.#toldInVain = this.#kicksWanted || this.#later;
  }

  again(): void {
    if (this.#later) this.#isDue = true;
    this.#later = false;
  }

  /** It is to have a turn, since {@link again}. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** Brings packets in, one turn's worth. True: there may be more. Hot path. */
  run(): boolean {
    const running = this.#running;
    if (running === undefined || this.#paused) return false;
    this.#isDue = false;
    if (this.#later) return this.#stopForListener(running);
    if (this.#kicksWanted) {
      this.#kicksWanted = false;
      running.queue.disableKicks();
    }
    if (this.#refusedPut) this.#offerRoom();
    let bytes = 0;
    for (let left = turnRequests; left > 0 && bytes < turnBytes; left--) {
      if (this.#waitingBytes > 0 && !this.#later && !this.#bringWaiting(running)) return this.#stopForBuffers(running);
      if (this.#later) return this.#stopForListener(running);
      if (this.#portEmpty) {
        running.notices.publish();
        // What a listener wanted to put in while it looked at a packet.
        return this.#refusedPut && !this.#kicksWanted;
      }
      const result = this.linkUp ? this.#read(running) : this.#discard();
      if (result === 0) return this.#stopForBuffers(running);
      if (result > 0) bytes += result;
      else if (result !== -EINTR) {
        if (result !== -EAGAIN) count(this.#counters, netCounter.receiveErrors, 1);
        this.#portEmpty = true;
        if (!this.#listens) this.#listen(true);
      }
    }
    running.notices.endTurn();
    return true;
  }

  put(packet: Uint8Array): boolean {
    const running = this.#running;
    if (running !== undefined && !this.#paused && !this.#isListening && this.#waitingBytes === 0) {
      if (!this.linkUp) {
        count(this.#counters, netCounter.receiveLinkDown, 1);
        return true;
      }
      const { queue, chains, notices } = running;
      do {
        chains.prepare(packet.length);
        if (!chains.isEmpty && packet.length <= chains.room) {
          this.#overflowBytes.set(packet);
          if (this.#moveIn(chains, 0, packet.length)) this.#deliver(running, packet.length);
          notices.publish();
          return true;
        }
        if (chains.isFull) {
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
  #read(running: Running): number {
    const { chains } = running;
    // The kernel looks at each range that a vector has, and a long packet has the overflow.
    chains.prepare(this.#shortPackets < shortPacketsInARow ? this.#wanted : Math.min(this.#wanted, shortPacket));
    if (chains.isEmpty) return 0;
    const length = chains.readFrom(this.#port, this.#overflow);
    if (length <= 0) {
      // A call that failed on its way may have written all the same.
      if (length !== 0 && length !== -EAGAIN) chains.markWritten(Math.min(chains.room, longestPacket));
      return length === 0 ? -EAGAIN : length;
    }
    this.#shortPackets = length <= shortPacket ? this.#shortPackets + 1 : 0;
    if (length < shortestPacket) this.#drop(chains, length, netCounter.receiveTooShort);
    else if (length > longestPacket) this.#drop(chains, length, netCounter.receiveTooLong);
    else if (length <= chains.room) this.#pass(running, length);
    else if (chains.isFull) this.#drop(chains, length, netCounter.receiveNoRoom);
    else this.#keep(chains, length);
    return length;
  }

  /** Reads one packet and drops it: nothing comes in while the link is down. */
  #discard(): number {
    const length = this.#port.readv(this.#overflowOnly.address, this.#overflowOnly.count);
    if (length > 0) count(this.#counters, netCounter.receiveLinkDown, 1);
    return length === 0 ? -EAGAIN : length;
  }

  /** A packet lies in the ready chains and goes to the driver, unless a listener takes it over. Hot path. */
  #pass(running: Running, length: number): void {
    const { listener } = this.tap;
    const verdict = listener === undefined ? 'pass' : this.#ask(running.chains, listener, length);
    if (verdict === 'pass') this.#deliver(running, length);
    else if (verdict === 'hold') this.#drop(running.chains, length, netCounter.receiveHeld);
    else {
      this.#keep(running.chains, length);
      this.#later = true;
    }
  }

  #ask(chains: ReadyChains, listener: PacketListener, length: number): Verdict {
    this.#isListening = true;
    try {
      chains.describe(length, this.#ranges);
      return listener.packet(this.#ranges);
    } finally {
      this.#isListening = false;
    }
  }

  /** The driver gets the packet that lies in the ready chains. Hot path. */
  #deliver({ chains, notices }: Running, length: number): void {
    chains.use(length);
    count(this.#counters, netCounter.receivedPackets, 1);
    count(this.#counters, netCounter.receivedBytes, length - headerBytes);
    notices.add(length);
  }

  /** The driver gets nothing of the `length` bytes that were read; the chains stay ready. Some of them were written. */
  #drop(chains: ReadyChains, length: number, why: number): void {
    count(this.#counters, why, 1);
    chains.markWritten(length);
  }

  /** A packet waits: what of it has no room yet stays in the overflow, at its offset in the packet. */
  #keep(chains: ReadyChains, length: number): void {
    this.#waitingBytes = length;
    this.#waitingFrom = Math.min(chains.room, length);
    chains.markWritten(length);
  }

  /** Moves the beginning of a packet that waits from the ready chains to the overflow too. If that fails it is dropped. */
  #keepWhole(chains: ReadyChains): void {
    const { fd } = this.#overflow;
    const moved = this.#moved;
    for (let at = 0; at < this.#waitingFrom; ) {
      chains.gather(at, this.#waitingFrom, moved);
      const result = tryPwritev(fd, moved.address, moved.count, at);
      if (result > 0) at += result;
      else if (result !== -EINTR) {
        count(this.#counters, netCounter.receiveErrors, 1);
        this.#forgetWaiting();
        return;
      }
    }
    this.#waitingFrom = 0;
  }

  /** Brings in the packet that waits. False if there is still no room. */
  #bringWaiting(running: Running): boolean {
    const { chains } = running;
    const length = this.#waitingBytes;
    if (this.linkUp) {
      chains.prepare(length);
      if (length > chains.room && !chains.isFull) return false;
    }
    const from = this.#waitingFrom;
    this.#forgetWaiting();
    if (!this.linkUp) count(this.#counters, netCounter.receiveLinkDown, 1);
    else if (length > chains.room) count(this.#counters, netCounter.receiveNoRoom, 1);
    else if (this.#moveIn(chains, from, length)) this.#pass(running, length);
    return true;
  }

  #forgetWaiting(): void {
    this.#later = false;
    this.#waitingBytes = 0;
    this.#waitingFrom = 0;
  }

  /**
   * Copies [from, to) of a packet from the overflow into ready chains, which have room for it. False: that failed, and the
   * packet is dropped.
   */
  #moveIn(chains: ReadyChains, from: number, to: number): boolean {
    const { fd } = this.#overflow;
    const moved = this.#moved;
    for (let at = from; at < to; ) {
      chains.gather(at, to, moved);
      const result = tryPreadv(fd, moved.address, moved.count, at);
      if (result > 0) at += result;
      else if (result !== -EINTR) {
        this.#drop(chains, to, netCounter.receiveErrors);
        return false;
      }
    }
    return true;
  }

  /** Ends a turn because the listener wants no more now. */
  #stopForListener({ notices }: Running): boolean {
    notices.publish();
    if (this.#toldInVain && this.#listens) this.#listen(false);
    return false;
  }

  /** Ends a turn for want of buffers. True if some came just now. */
  #stopForBuffers({ queue, notices }: Running): boolean {
    notices.publish();
    if (this.#askForKick(queue)) return true;
    if (this.#toldInVain && this.#listens) this.#listen(false);
    return false;
  }

  /** Asks for a kick for the next buffers. True if there are some already. */
  #askForKick(queue: Virtqueue): boolean {
    // Paused: the device has failed just now.
    if (queue.fault !== undefined || this.#paused) return false;
    if (queue.enableKicks()) {
      queue.disableKicks();
      return true;
    }
    this.#kicksWanted = true;
    return false;
  }

  #listen(isWanted: boolean): void {
    this.#listens = isWanted;
    this.#port.listen(isWanted);
  }

  #offerRoom(): void {
    this.#refusedPut = false;
    this.tap.listener?.room();
  }
}
