import { type PacketView, packetKind } from './packet-view.ts';
import type { QuotedSegment } from './quoted-segment.ts';
import { ipProtocol, longAt } from './wire.ts';

/** Words of a key. */
export const keyWords = 11;
/** Rounds of the hash behind the last word, so that it reaches every bit. */
const finalRounds = 3;

const place = { kinds: 0, vlans: 1, guest: 2, other: 6, ports: 10 } as const;
/** In the first word: the packet is a piece, which has no ports. */
const fragmentBit = 1 << 30;

/**
 * Which connection a packet belongs to, both directions the same: card, VLAN, protocol, the guest's address and port and
 * those of whom it speaks with. One key is made once and set for each packet; nothing is allocated.
 *
 *     word 0       1       2..5              6..9             10
 *     card, IP,    VLANs   guest's address   other address    ports: guest's in the upper half
 *     protocol
 */
export class FlowKey {
  readonly words = new Int32Array(keyWords);
  hash = 0;
  readonly #seed: number;

  /** @param seed a random number, so that nobody outside can make packets whose keys all collide */
  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  /** The key of a packet that the guest sends. Hot path. */
  setOutgoing(card: number, view: PacketView): void {
    this.#set(card, view, view.ip.source, view.ip.destination, view.sourcePort, view.destinationPort);
  }

  /** The key of a packet that the guest gets. Hot path. */
  setIncoming(card: number, view: PacketView): void {
    this.#set(card, view, view.ip.destination, view.ip.source, view.destinationPort, view.sourcePort);
  }

  /** The key of a TCP connection of which the guest gets an ICMP error: what that quotes, the guest has sent. */
  setQuoted(card: number, view: PacketView, quoted: QuotedSegment): void {
    const { version, source, destination, sourcePort, destinationPort } = quoted;
    const { words } = this;
    words[place.kinds] = (card << 16) | (version << 8) | ipProtocol.tcp;
    words[place.vlans] = view.vlans;
    this.#setAddresses(view.bytes, version, source, destination);
    words[place.ports] = (sourcePort << 16) | destinationPort;
    this.#mix();
  }

  /** A key from its {@link words}, as another process had them. */
  setSaved(words: readonly number[]): void {
    this.words.set(words);
    this.#mix();
  }

  #set(card: number, view: PacketView, guest: number, other: number, guestPort: number, otherPort: number): void {
    const { words } = this;
    const { bytes, ip, kind } = view;
    if (kind <= packetKind.arp) {
      // No addresses: all such packets of a card are of one flow.
      words.fill(0);
      words[place.kinds] = (card << 16) | kind;
      words[place.vlans] = view.vlans;
      this.#mix();
      return;
    }
    const fragment = kind === packetKind.fragment ? fragmentBit : 0;
    words[place.kinds] = (card << 16) | (ip.version << 8) | ip.protocol | fragment;
    words[place.vlans] = view.vlans;
    this.#setAddresses(bytes, ip.version, guest, other);
    words[place.ports] = kind === packetKind.tcp || kind === packetKind.udp ? (guestPort << 16) | otherPort : 0;
    this.#mix();
  }

  /** Hot path. */
  #setAddresses(bytes: Uint8Array, version: 4 | 6, guest: number, other: number): void {
    const { words } = this;
    if (version === 4) {
      words[place.guest] = longAt(bytes, guest);
      words[place.other] = longAt(bytes, other);
      for (let word = 1; word < 4; word++) {
        words[place.guest + word] = 0;
        words[place.other + word] = 0;
      }
    } else {
      for (let word = 0; word < 4; word++) {
        words[place.guest + word] = longAt(bytes, guest + 4 * word);
        words[place.other + word] = longAt(bytes, other + 4 * word);
      }
    }
  }

  /**
   * HalfSipHash, one round for each word: additions carry differences on and rotations move them, as the seed has it. Where words
   * are only multiplied, differences can be chosen that cancel for every seed. Hot path.
   */
  #mix(): void {
    const { words } = this;
    let v0 = this.#seed;
    let v1 = Math.imul(this.#seed, 0x9e3779b1);
    let v2 = v0 ^ 0x6c796765;
    let v3 = v1 ^ 0x74656462;
    for (let at = 0; at < keyWords + finalRounds; at++) {
      const word = at < keyWords ? (words[at] as number) : 0;
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
    }
    this.hash = v1 ^ v3;
  }

  /** Whether the key is the one that stands at `at` of `keys`. Hot path. */
  isAt(keys: Int32Array, at: number): boolean {
    const { words } = this;
    for (let word = 0; word < keyWords; word++) if (words[word] !== keys[at + word]) return false;
    return true;
  }
}

/** A key as a person reads it: `tcp 192.0.2.1:80 - 198.51.100.7:40112`, the guest first. */
export function keyText(keys: Int32Array, at = 0): string {
  const word = (index: number): number => keys[at + index] as number;
  const kinds = word(place.kinds);
  const version = (kinds >> 8) & 0xf;
  if (version === 0) return kinds & 0xff ? 'frames that are not IP' : 'malformed packets';
  const protocol = kinds & 0xff;
  const name = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmp6' }[protocol] ?? `protocol ${protocol}`;
  const ports = word(place.ports);
  const hasPorts = (protocol === 6 || protocol === 17) && (kinds & fragmentBit) === 0;
  const end = (address: number, port: number): string => {
    const text = version === 4 ? ipv4Text(word(address)) : ipv6Text(keys, at + address);
    if (!hasPorts) return text;
    return version === 4 ? `${text}:${port}` : `[${text}]:${port}`;
  };
  const piece = kinds & fragmentBit ? ' fragments' : '';
  return `${name}${piece} ${end(place.guest, ports >>> 16)} - ${end(place.other, ports & 0xffff)}`;
}

function ipv4Text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

/** With the longest run of zeros left out (RFC 5952). */
function ipv6Text(words: Int32Array, at: number): string {
  const parts = Array.from({ length: 8 }, (_, index) => {
    const word = words[at + (index >> 1)] as number;
    return (index % 2 === 0 ? word >>> 16 : word & 0xffff).toString(16);
  });
  const text = parts.join(':');
  const runs = [...text.matchAll(/\b0(:0)+\b/g)].map((match) => match[0]);
  const longest = runs.reduce((a, b) => (b.length > a.length ? b : a), '');
  if (longest === '') return text;
  const from = text.indexOf(longest, text.search(new RegExp(`(^|:)${longest}(:|$)`)));
  return `${text.slice(0, from).replace(/:$/, '')}::${text.slice(from + longest.length).replace(/^:/, '')}`;
}
