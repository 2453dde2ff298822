import { type Gpa, gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { longestPacket, shortestPacket } from './packet-port.ts';

/**
 * `pass`: it goes on its way. `hold`: the listener has copied it, and it goes no further. `later`: the listener has no room for
 * it now. It stays where it is, with all behind it, and is shown again once the listener has called {@link TapPoint.again}.
 */
export type Verdict = 'pass' | 'hold' | 'later';

/** Whoever mirrors, holds or releases the packets of one direction. Called on the io thread. */
export interface PacketListener {
  /** A packet is about to go on its way. `packet` is valid until this returns. */
  packet(packet: PacketRanges): Verdict;
  /** {@link TapPoint.put} had to refuse a packet; now it may be worth trying again. */
  room(): void;
}

/** Takes packets that come from a listener, not from where packets of its direction come from otherwise. */
export interface PacketSink {
  /** False: not now. */
  put(packet: Uint8Array): boolean;
  /** A packet that was to come later is to be shown again. */
  again(): void;
}

/**
 * Where packets of one direction can be seen, kept back and put in. Those that are put in are not shown to the
 * listener again, and keep their order among each other and with those that pass.
 *
 * With nobody listening it costs one comparison a packet.
 */
export class TapPoint {
  #listener: PacketListener | undefined;
  readonly #sink: PacketSink;

  constructor(sink: PacketSink) {
    this.#sink = sink;
  }

  /** Who listens, if anyone does. Another one is asked about a packet that was to come later. */
  get listener(): PacketListener | undefined {
    return this.#listener;
  }

  set listener(listener: PacketListener | undefined) {
    this.#listener = listener;
    this.#sink.again();
  }

  /** The listener has room again for what was to come later. That goes on with the card's next turn. */
  again(): void {
    this.#sink.again();
  }

  /**
   * Sends a packet on its way: header and frame, copied before this returns. False: there is no room now, and the
   * listener's `room` will be called. That is so as well for packets to the guest while a listener is shown one, or wants one
   * later: those that are put in then come behind it.
   */
  put(packet: Uint8Array): boolean {
    if (packet.length < shortestPacket || packet.length > longestPacket) {
      throw new RangeError(`a packet has ${shortestPacket} to ${longestPacket} bytes, not ${packet.length}`);
    }
    return this.#sink.put(packet);
  }
}

/** A packet where it lies in guest memory: header and frame, in ranges. The object is reused for the next one. */
export class PacketRanges {
  /** Bytes in all. */
  length = 0;
  count = 0;
  readonly #memory: GuestMemory;
  #addresses: Float64Array;
  #lengths: Uint32Array;

  constructor(memory: GuestMemory, capacity: number) {
    this.#memory = memory;
    this.#addresses = new Float64Array(capacity);
    this.#lengths = new Uint32Array(capacity);
  }

  addressOf(index: number): Gpa {
    return gpa(this.#addresses[index] as number);
  }

  lengthOf(index: number): number {
    return this.#lengths[index] as number;
  }

  clear(): void {
    this.length = 0;
    this.count = 0;
  }

  /** Appends up to `bytes` of the buffers [from, to) of a chain. */
  append(chain: DescriptorChain, from: number, to: number, bytes: number): void {
    let left = bytes;
    for (let index = from; index < to && left > 0; index++) {
      if (this.count === this.#addresses.length) this.#grow();
      const part = Math.min(left, chain.lengthOf(index));
      this.#addresses[this.count] = chain.addressOf(index);
      this.#lengths[this.count] = part;
      this.count++;
      this.length += part;
      left -= part;
    }
  }

  /** Copies the packet into `target`, as far as there is room; the count copied. */
  copy(target: Uint8Array): number {
    let copied = 0;
    for (let index = 0; index < this.count && copied < target.length; index++) {
      const part = Math.min(this.lengthOf(index), target.length - copied);
      target.set(this.#memory.slice(this.addressOf(index), part), copied);
      copied += part;
    }
    return copied;
  }

  #grow(): void {
    const addresses = new Float64Array(2 * this.#addresses.length);
    const lengths = new Uint32Array(2 * this.#lengths.length);
    addresses.set(this.#addresses);
    lengths.set(this.#lengths);
    this.#addresses = addresses;
    this.#lengths = lengths;
  }
}
