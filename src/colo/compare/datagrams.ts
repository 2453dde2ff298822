import { type PacketView, packetKind } from '../packet/packet-view.ts';
import { byteAt } from '../packet/wire.ts';
import { type ComparedFlow, type FlowOutcome, pairsKept } from './compared-flow.ts';
import { excerpt } from './excerpt.ts';
import type { PacketStore, Waiting } from './packet-store.ts';
import { sameBytes } from './same-bytes.ts';

/** How many bytes a digest looks at, at most, spread over the packet. */
const digestBytes = 16;

/**
 * Everything but TCP: a packet of P matches any equal packet of S of the same connection, in whatever order (spec A.5). Each
 * packet of S lets one of P's out. What is compared:
 *
 *     UDP           what it carries
 *     ICMP, ICMPv6  type, code and all behind the checksum
 *     pieces        what they carry and their place in the whole; pieces of one datagram match pieces of one datagram
 *     other IP      what follows the IP headers
 *     malformed     all of the frame
 */
export class Datagrams {
  readonly #store: PacketStore;
  readonly #outcome: FlowOutcome;
  readonly #packetsPerFlow: number;

  constructor(store: PacketStore, outcome: FlowOutcome, packetsPerFlow: number) {
    this.#store = store;
    this.#outcome = outcome;
    this.#packetsPerFlow = packetsPerFlow;
  }

  /** P sent a packet. Hot path. */
  primary(flow: ComparedFlow, view: PacketView, handle: number, now: number): void {
    if (flow.diverged) return;
    flow.isDatagrams = true;
    const packet = this.#read(view, handle, now);
    if (this.#matched(flow, packet, true)) {
      this.#outcome.release(handle);
      this.#store.give(packet);
    } else if (flow.primary.length < this.#packetsPerFlow) flow.primary.push(packet);
    else this.#overflow(flow, packet);
  }

  /** S sent a packet, which is only lent. Hot path. */
  secondary(flow: ComparedFlow, view: PacketView, handle: number, now: number): void {
    if (flow.diverged) return;
    const packet = this.#read(view, handle, now);
    if (this.#matched(flow, packet, false)) {
      this.#outcome.drop(handle);
      this.#store.give(packet);
    } else if (
      flow.secondary.length < this.#packetsPerFlow &&
      this.#store.copy(packet, packet.bytes, packet.at, packet.length)
    ) {
      flow.secondary.push(packet);
    } else this.#overflow(flow, packet);
  }

  #overflow(flow: ComparedFlow, packet: Waiting): void {
    const primary = flow.primary.first;
    const secondary = flow.secondary.first;
    this.#outcome.diverge(flow, {
      reason: 'overflow',
      primary: primary === undefined ? noBytes : excerpt(primary, 0),
      secondary: secondary === undefined ? noBytes : excerpt(secondary, 0),
    });
    this.#store.give(packet);
  }

  /** Looks for the packet's counterpart, which then waits no more. */
  #matched(flow: ComparedFlow, packet: Waiting, isPrimary: boolean): boolean {
    const list = isPrimary ? flow.secondary : flow.primary;
    let before: Waiting | undefined;
    for (let other = list.first; other !== undefined; before = other, other = other.next) {
      if (!isSame(packet, other)) continue;
      if (
        packet.flags >= pieceFlag &&
        !(isPrimary ? pair(flow, packet.id, other.id) : pair(flow, other.id, packet.id))
      ) {
        continue;
      }
      list.remove(other, before);
      if (isPrimary) this.#outcome.drop(other.handle);
      else this.#outcome.release(other.handle);
      this.#store.give(other);
      return true;
    }
    return false;
  }

  #read(view: PacketView, handle: number, now: number): Waiting {
    const packet = this.#store.take();
    packet.handle = handle;
    packet.since = now;
    packet.bytes = view.bytes;
    packet.at = view.payload;
    packet.length = view.payloadBytes;
    packet.flags = 0;
    packet.id = 0;
    switch (view.kind) {
      case packetKind.icmp:
      case packetKind.icmp6:
        packet.flags = (view.icmpType << 8) | view.icmpCode;
        packet.at = view.checksum + 2;
        packet.length = view.payloadBytes + view.payload - packet.at;
        break;
      case packetKind.fragment:
        packet.flags = pieceFlag | view.ip.fragmentOffset | (view.ip.moreFragments ? 1 : 0);
        packet.id = view.ip.fragmentId;
        break;
      case packetKind.opaque:
        packet.at = view.ethernet;
        packet.length = view.frameBytes;
        break;
    }
    packet.sequence = digest(packet);
    return packet;
  }
}

const noBytes = new Uint8Array(0);
/** Beyond type and code, and beyond a place in a datagram. */
const pieceFlag = 1 << 20;

function isSame(a: Waiting, b: Waiting): boolean {
  if (a.sequence !== b.sequence || a.length !== b.length || a.flags !== b.flags) return false;
  return sameBytes(a.bytes, a.at, b.bytes, b.at, a.length);
}

/** Tells most packets apart without looking at all of them. */
function digest({ bytes, at, length }: Waiting): number {
  const step = Math.max(1, Math.floor(length / digestBytes));
  let hash = length;
  for (let index = 0; index < length; index += step) hash = Math.imul(hash ^ byteAt(bytes, at + index), 0x01000193);
  return hash;
}

/**
 * Whether pieces of these two datagrams, P's and S's, may match: equal pieces of different datagrams would let clients put
 * together what S never said. Each goes with the first that it matched, as far back as is remembered.
 */
function pair(flow: ComparedFlow, primary: number, secondary: number): boolean {
  const { pairs } = flow;
  const known = Math.min(flow.pairCount, pairsKept);
  for (let at = 0; at < known; at++) {
    const isMine = pairs[2 * at] === primary;
    const isTheirs = pairs[2 * at + 1] === secondary;
    if (isMine || isTheirs) return isMine && isTheirs;
  }
  const at = 2 * (flow.pairCount++ % pairsKept);
  pairs[at] = primary;
  pairs[at + 1] = secondary;
  return true;
}
