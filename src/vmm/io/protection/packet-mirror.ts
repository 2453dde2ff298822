import type { PacketListener, PacketRanges, TapPoint, Verdict } from '../../../devices/net/packet-tap.ts';
import { DoorbellButton } from '../../../host/threads/doorbell.ts';
import { RecordProducer } from '../../../host/threads/record-ring.ts';
import { kindOfCard, PacketControl, packetMode } from '../../platform/packet-rings.ts';
import { OpenEpoch, type SharedPackets, type SharedProtection } from '../../platform/shared-protection.ts';
import type { CardPort } from './card-port.ts';

/** Where a card's packets can be seen: NetDevice. */
export interface MirroredCard {
  readonly toGuest: TapPoint;
  readonly toWire: TapPoint;
  /** Takes a packet that waits for the driver's buffers, while paused; empty if none does. */
  takeWaiting(): Uint8Array;
  /** Packets came in behind its back. */
  portReady(): void;
}

/** A card of the machine, as it is protected. */
export interface ProtectedCard {
  readonly device: MirroredCard;
  readonly port: CardPort;
}

/** As SharedPackets; without a mirror: what enters the guest is nobody's concern, as in a replica. */
export type MirrorRings = Omit<SharedPackets, 'mirror'> & Partial<Pick<SharedPackets, 'mirror'>>;

/**
 * The packets of a protected machine's cards, on the io thread: what the guest sends goes into the outbox, and no further; what
 * enters it goes into the mirror as well. A ring without room is "later": the packet stays in its virtqueue or TAP. So does what is
 * to enter a guest that waits for the other one ({@link PacketControl.inputWaitsIn}).
 */
export class PacketMirror {
  readonly #cards: readonly MirroredCard[];

  /** Listens at the cards from now on, all of which are paused. A card's number is its place. */
  constructor(
    cards: readonly ProtectedCard[],
    { packets, epoch, bell }: Pick<SharedProtection, 'epoch' | 'bell'> & { readonly packets: MirrorRings },
  ) {
    this.#cards = cards.map(({ device }) => device);
    const button = new DoorbellButton(bell);
    const ring = (): void => button.ring();
    const control = new PacketControl(packets.control);
    const open = new OpenEpoch(epoch);
    const outbox = new RecordProducer(packets.outbox, ring);
    const mirror = packets.mirror === undefined ? undefined : new RecordProducer(packets.mirror, ring);
    cards.forEach(({ device, port }, number) => {
      const kind = kindOfCard(number);
      device.toWire.listener = new Outgoing(kind, outbox, control, open, port);
      if (mirror !== undefined) device.toGuest.listener = new Incoming(kind, mirror, control, open, port);
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
  readonly #port: CardPort;

  constructor(kind: number, outbox: RecordProducer, control: PacketControl, epoch: OpenEpoch, port: CardPort) {
    this.#kind = kind;
    this.#outbox = outbox;
    this.#control = control;
    this.#epoch = epoch;
    this.#port = port;
  }

  /** Hot path. */
  packet(packet: PacketRanges): Verdict {
    switch (this.#control.mode) {
      case packetMode.mirrored:
        return put(packet, this.#outbox, this.#kind, this.#epoch.number, this.#port) ? 'hold' : 'later';
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
  readonly #port: CardPort;

  constructor(kind: number, mirror: RecordProducer, control: PacketControl, epoch: OpenEpoch, port: CardPort) {
    this.#kind = kind;
    this.#port = port;
    this.#mirror = mirror;
    this.#control = control;
    this.#epoch = epoch;
  }

  /** Hot path. */
  packet(packet: PacketRanges): Verdict {
    if (this.#control.mode !== packetMode.mirrored) return 'pass';
    if (!this.#control.letsIn(this.#epoch.number)) return 'later';
    return this.#put(packet) ? 'pass' : 'later';
  }

  /** Hot path. */
  #put(packet: PacketRanges): boolean {
    const { untranslated } = this.#port;
    if (untranslated === undefined) return put(packet, this.#mirror, this.#kind, this.#epoch.number);
    // As the world sent it: what of it fitted into the guest's buffers.
    const length = Math.min(packet.length, untranslated.length);
    const at = reserve(this.#mirror, length);
    if (at < 0) return false;
    this.#mirror.bytes.set(untranslated.subarray(0, length), at);
    this.#mirror.commit(this.#kind, this.#epoch.number);
    return true;
  }

  room(): void {}
}

/** Where a record of that length goes; below 0 if there is no room, and then this thread is woken when there may be. Hot path. */
function reserve(ring: RecordProducer, length: number): number {
  let at = ring.reserve(length);
  while (at < 0) {
    if (ring.waitForRoom()) return -1;
    // Some came just before it was asked for.
    at = ring.reserve(length);
  }
  return at;
}

/** Copies a packet into a ring; false if there is no room, and then this thread is woken when there may be. Hot path. */
function put(packet: PacketRanges, ring: RecordProducer, kind: number, tag: number, port?: CardPort): boolean {
  const { length } = packet;
  const at = reserve(ring, length);
  if (at < 0) return false;
  packet.copy(ring.bytes.subarray(at, at + length));
  port?.translate(ring.bytes, at, length);
  ring.commit(kind, tag);
  return true;
}
