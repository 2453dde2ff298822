import { longestPacket, type PacketPort } from '../../../devices/net/packet-port.ts';
import { viewMemory } from '../../../host/libc/memory.ts';
import { IoVectors } from '../../../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../../host/ownership.ts';
import type { PacketFeed } from './packet-feed.ts';
import { gatherPacket, scatterPacket } from './scatter-packet.ts';
import { SharedTranslation } from './translation.ts';

/** Where a packet lies while its numbers are changed: the longest one fits. */
const scratchBytes = 128 * 1024;

/**
 * A card's port: its TAP, and what may stand before it. Where nothing does, it costs one comparison a packet.
 *
 *     a replica        a feed, and never the TAP
 *     has taken over   what was left of that feed, then packets of the other side's that its guest has not got (spec B.15), then the
 *                      TAP; and as long as connections are translated, each packet but the former goes through that. Who mirrors
 *                      packets gets them as they were before: a standby translates by itself
 *
 * A packet that waited for buffers at the checkpoint from which the guest goes on is in the other side's hands: that mirrors it before
 * anything else of its card, when its own guest gets it. So it is set aside here, and whatever comes from the other side is in
 * its place: to enter both guests once, and in the same order. If nothing came, and nothing will, it is the first.
 */
export class CardPort implements PacketPort, Closable {
  readonly #tap: PacketPort;
  readonly #card: number;
  readonly #translation: SharedTranslation;
  #feed: PacketFeed | undefined;
  #left: Uint8Array[] | undefined;
  #replayed: readonly Uint8Array[] | undefined;
  #next = 0;
  /** A packet that waited at the checkpoint, as long as the other side has mirrored nothing since. */
  #aside: Uint8Array | undefined;
  /** Nothing but the TAP. */
  #isPlain = true;
  #scratch: Scratch | undefined;
  /** The packet that was read last, before it was translated; the first so many bytes. */
  readonly #untranslated = { bytes: new Uint8Array(0), length: 0 };

  /** @param card its number among the machine's */
  constructor(tap: PacketPort, card = 0, translation = new SharedTranslation()) {
    this.#tap = tap;
    this.#card = card;
    this.#translation = translation;
  }

  /** The guest is a replica: packets come from there. */
  feed(feed: PacketFeed): void {
    this.#feed = feed;
    this.#isPlain = false;
  }

  /** The guest is no replica any more. It gets what is left of what it was fed for the epoch that it runs in. */
  endFeed(): void {
    const left = this.#feed?.take() ?? [];
    this.#feed = undefined;
    if (left.length > 0) this.#left = left;
    this.#isPlain = false;
  }

  /** These come before what the TAP has, in order. They are this one's from now on. */
  replay(packets: readonly Uint8Array[]): void {
    const before = this.#replayed?.slice(this.#next) ?? [];
    this.#replayed = before.length + packets.length === 0 ? undefined : [...before, ...packets];
    this.#next = 0;
    this.#isPlain = false;
  }

  /** This waited for buffers at the checkpoint that was loaded last; empty: nothing did. */
  setAside(packet: Uint8Array): void {
    this.#aside = packet.length === 0 ? undefined : packet;
    this.#isPlain = false;
  }

  /** The guest that they were for is gone. */
  forgetReplay(): void {
    this.#aside = undefined;
    this.#replayed = undefined;
    this.#left = undefined;
    this.#next = 0;
  }

  /** The packet that was read last as it came, if it was translated on its way. Valid until the next one is read. Hot path. */
  get untranslated(): Uint8Array | undefined {
    const { bytes, length } = this.#untranslated;
    return length === 0 ? undefined : bytes.subarray(0, length);
  }

  /** Packets that are still to come before what the TAP has. */
  get replaying(): number {
    const left = this.#left?.length ?? 0;
    return left + (this.#replayed === undefined ? 0 : this.#replayed.length - this.#next);
  }

  /** Hot path. */
  readv(iovAddress: number, count: number): number {
    return this.#isPlain ? this.#tap.readv(iovAddress, count) : this.#detoured(iovAddress, count);
  }

  /** Hot path. */
  writev(iovAddress: number, count: number): number {
    if (this.#isPlain || !this.#translation.isActive) return this.#tap.writev(iovAddress, count);
    this.#scratch ??= new Scratch();
    const { bytes } = this.#scratch;
    const length = gatherPacket(bytes.subarray(0, longestPacket), iovAddress, count);
    this.#translation.outgoing(this.#card, bytes, 0, length);
    return this.#tap.writev(this.#scratch.vectorOf(length), 1);
  }

  /** A packet of the guest that goes another way than through {@link writev}. */
  translate(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#translation.isActive) this.#translation.outgoing(this.#card, bytes, offset, length);
  }

  listen(isWanted: boolean): void {
    this.#tap.listen(isWanted);
  }

  setOffload(bits: number): number {
    return this.#tap.setOffload(bits);
  }

  close(): void {
    this.#scratch?.close();
  }

  #detoured(iovAddress: number, count: number): number {
    this.#untranslated.length = 0;
    if (this.#feed !== undefined) {
      const length = this.#feed.readv(iovAddress, count);
      if (length > 0) this.#aside = undefined;
      return length;
    }
    const left = this.#left?.shift();
    if (left !== undefined) {
      this.#aside = undefined;
      return scatterPacket(left, iovAddress, count);
    }
    this.#left = undefined;
    const packet = this.#replayed?.[this.#next++];
    if (packet !== undefined) {
      this.#aside = undefined;
      this.#translateIncoming(packet, packet.length);
      return scatterPacket(packet, iovAddress, count);
    }
    const aside = this.#aside;
    this.forgetReplay();
    // It is the guest's already: who mirrored to this side had translated it.
    if (aside !== undefined) return scatterPacket(aside, iovAddress, count);
    if (!this.#translation.isActive) {
      this.#isPlain = true;
      return this.#tap.readv(iovAddress, count);
    }
    this.#scratch ??= new Scratch();
    const { bytes } = this.#scratch;
    const length = this.#tap.readv(this.#scratch.vectorOf(scratchBytes), 1);
    if (length <= 0) return length;
    this.#translateIncoming(bytes, length);
    return scatterPacket(bytes.subarray(0, length), iovAddress, count);
  }

  /** In place; what it was is kept aside. */
  #translateIncoming(bytes: Uint8Array, length: number): void {
    if (!this.#translation.isActive) return;
    const kept = this.#untranslated;
    if (kept.bytes.length < length) kept.bytes = new Uint8Array(scratchBytes);
    kept.bytes.set(bytes.subarray(0, length));
    kept.length = length;
    this.#translation.incoming(this.#card, bytes, 0, length);
  }
}

/** Memory at a fixed address, and a struct iovec that names it. */
class Scratch implements Closable {
  readonly bytes: Uint8Array;
  readonly #owner = new Owner();
  readonly #address: number;
  readonly #vectors: IoVectors;

  constructor() {
    try {
      const mapping = this.#owner.own(new AnonymousMapping('packets', scratchBytes));
      this.#address = mapping.address;
      this.bytes = new Uint8Array(viewMemory(mapping.address, scratchBytes));
      this.#vectors = this.#owner.own(new IoVectors(1, 1));
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** Where a struct iovec of its first so many bytes lies. */
  vectorOf(length: number): number {
    const [vector] = this.#vectors.vectors;
    if (vector === undefined) return 0;
    vector.clear();
    vector.add(this.#address, length);
    return vector.address;
  }

  close(): void {
    this.#owner.close();
  }
}
