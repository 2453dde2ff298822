/**
 * Packets that are to enter a guest which has taken over before anything new does (spec B.15), in one piece of memory that
 * threads hand on, for there may be tens of thousands:
 *
 *     packet   u32  number of its card        u32  its bytes        header and frame, up to a multiple of 4 bytes
 */
export interface ReplayedPackets {
  readonly count: number;
  readonly storage: SharedArrayBuffer;
}

/** A packet, and the number of its card among the machine's. */
export interface CardPacket {
  readonly card: number;
  /** Header and frame. */
  readonly packet: Uint8Array;
}

const headBytes = 8;

function spanOf(packetBytes: number): number {
  return headBytes + ((packetBytes + 3) & ~3);
}

export function packReplayed(packets: readonly CardPacket[]): ReplayedPackets {
  const storage = new SharedArrayBuffer(packets.reduce((sum, { packet }) => sum + spanOf(packet.length), 0));
  const words = new Uint32Array(storage);
  const bytes = new Uint8Array(storage);
  let at = 0;
  for (const { card, packet } of packets) {
    words[at / 4] = card;
    words[at / 4 + 1] = packet.length;
    bytes.set(packet, at + headBytes);
    at += spanOf(packet.length);
  }
  return { count: packets.length, storage };
}

/** The packets of one card, in order: views. */
export function replayedOf({ storage }: ReplayedPackets, card: number): Uint8Array[] {
  const words = new Uint32Array(storage);
  const packets: Uint8Array[] = [];
  for (let at = 0; at < storage.byteLength; ) {
    const length = words[at / 4 + 1] as number;
    if (words[at / 4] === card) packets.push(new Uint8Array(storage, at + headBytes, length));
    at += spanOf(length);
  }
  return packets;
}
