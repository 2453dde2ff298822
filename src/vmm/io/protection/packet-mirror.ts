import type { PacketListener, PacketRanges, TapPoint, Verdict } from '../../../devices/net/packet-tap.ts';
import { DoorbellButton } from '../../../host/doorbell.ts';
import { RecordProducer } from '../../../host/record-ring.ts';
import { kindOfCard, PacketControl, packetMode } from '../../platform/packet-rings.ts';
import { OpenEpoch, type SharedProtection } from '../../platform/shared-protection.ts';

/** Where a card's packets can be seen: NetDevice. */
export interface MirroredCard {
  readonly toGuest: TapPoint;
  readonly toWire: TapPoint;
  /** Packets came in behind its back. */
  portReady(): void;
}

/**
 * The packets of a protected machine's cards, on the io thread: what the guest sends goes into the outbox, and no further; what
 * enters it goes into the mirror as well. A ring without room is "later": the packet stays in its virtqueue or TAP.
 */
export class PacketMirror {
  readonly #cards: readonly MirroredCard[];

  /** Listens at the cards from now on, all of which are paused. A card's number is its place. */
  constructor(
    cards: readonly MirroredCard[],
    { packets, epoch, bell }: Pick<SharedProtection, 'packets' | 'epoch' | 'bell'>,
  ) {
    this.#cards = cards;
    const button = new DoorbellButton(bell);
    const ring = (): void => button.ring();
    const control = new PacketControl(packets.control);
    const open = new OpenEpoch(epoch);
    const outbox = new RecordProducer(packets.outbox, ring);
    const mirror = new RecordProducer(packets.mirror, ring);
    cards.forEach((card, number) => {
      const kind = kindOfCard(number);
      card.toWire.listener = new Outgoing(kind, outbox, control, open);
      card.toGuest.listener = new Incoming(kind, mirror, control, open);
    });
  }

  /** A ring may have room again. */
  woken(): void {
    for (const { toWire, toGuest } of this.#cards) {
      toWire.again();
      toGuest.again();
    }
  }

  /** Packets go past the rings from now on. */
  close(): void {
    for (const { toWire, toGuest } of this.#cards) {
      toWire.listener = undefined;
      toGuest.listener = undefined;
    }
  }
}

class Outgoing implements PacketListener {
  readonly #kind: number;
  readonly #outbox: RecordProducer;
  readonly #control: PacketControl;
  readonly #epoch: OpenEpoch;

  constructor(kind: number, outbox: RecordProducer, control: PacketControl, epoch: OpenEpoch) {
    this.#kind = kind;
    this.#outbox = outbox;
    this.#control = control;
    this.#epoch = epoch;
  }

  /** Hot path. */
  packet(packet: PacketRanges): Verdict {
    switch (this.#control.mode) {
      case packetMode.mirrored:
        return put(packet, this.#outbox, this.#kind, this.#epoch.number) ? 'hold' : 'later';
      case packetMode.draining:
        return this.#isDrained() ? 'pass' : 'later';
      default:
        return 'pass';
    }
  }

  /** All that came before is out. If not, this thread is woken when more of it is. */
  #isDrained(): boolean {
    while (!this.#outbox.isEmpty) if (this.#outbox.waitForRoom()) return false;
    return true;
  }

  room(): void {}
}

class Incoming implements PacketListener {
  readonly #kind: number;
  readonly #mirror: RecordProducer;
  readonly #control: PacketControl;
  readonly #epoch: OpenEpoch;

  constructor(kind: number, mirror: RecordProducer, control: PacketControl, epoch: OpenEpoch) {
    this.#kind = kind;
    this.#mirror = mirror;
    this.#control = control;
    this.#epoch = epoch;
  }

  /** Hot path. */
  packet(packet: PacketRanges): Verdict {
    if (this.#control.mode !== packetMode.mirrored) return 'pass';
    return put(packet, this.#mirror, this.#kind, this.#epoch.number) ? 'pass' : 'later';
  }

  room(): void {}
}

/** Copies a packet into a ring; false if there is no room, and then this thread is woken when there may be. Hot path. */
function put(packet: PacketRanges, ring: RecordProducer, kind: number, tag: number): boolean {
  const { length } = packet;
  let at = ring.reserve(length);
  while (at < 0) {
    if (ring.waitForRoom()) return false;
    // Some came just before it was asked for.
    at = ring.reserve(length);
  }
  packet.copy(ring.bytes.subarray(at, at + length));
  ring.commit(kind, tag);
  return true;
}
