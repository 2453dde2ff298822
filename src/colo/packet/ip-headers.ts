import { byteAt, ipProtocol, ipv4Bytes, ipv6Bytes, longAt, wordAt } from './wire.ts';

/** Extension headers in one packet; more are nobody's packet. */
const mostExtensions = 16;
/** All but the authentication header count in units of 8 bytes, the first not included (RFC 8200, 4.2). */
const extensionUnit = 8;

const ipv4 = {
  versionAndLength: 0,
  totalLength: 2,
  id: 4,
  fragment: 6,
  protocol: 9,
  source: 12,
  destination: 16,
} as const;
const ipv6 = { version: 0, payloadLength: 4, nextHeader: 6, source: 8, destination: 24 } as const;
const moreFragments = 0x2000;

/** What an IPv4 or IPv6 header says. Offsets are of the buffer. */
export class IpHeaders {
  version: 4 | 6 = 4;
  /** Where the header begins. */
  at = 0;
  /** Where source and destination address are; each has {@link addressBytes}. */
  source = 0;
  destination = 0;
  addressBytes: 4 | 16 = 4;
  /** What follows all IP headers. */
  protocol = 0;
  /** Where that begins, and ends: what comes after it pads the frame. */
  payload = 0;
  end = 0;
  /** The payload is a piece of another one. */
  isFragment = false;
  /** Where in the whole it belongs, bytes. */
  fragmentOffset = 0;
  moreFragments = false;
  fragmentId = 0;

  /** False: what begins at `at` and has room until `end` is no IPv4 packet. Hot path. */
  readIpv4(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < ipv4Bytes) return false;
    const first = byteAt(bytes, at + ipv4.versionAndLength);
    const headerBytes = (first & 0xf) * 4;
    const total = wordAt(bytes, at + ipv4.totalLength);
    if (first >> 4 !== 4 || headerBytes < ipv4Bytes || total < headerBytes || total > end - at) return false;
    const fragment = wordAt(bytes, at + ipv4.fragment);
    this.version = 4;
    this.at = at;
    this.source = at + ipv4.source;
    this.destination = at + ipv4.destination;
    this.addressBytes = 4;
    this.protocol = byteAt(bytes, at + ipv4.protocol);
    this.payload = at + headerBytes;
    this.end = at + total;
    this.fragmentOffset = (fragment & 0x1fff) * 8;
    this.moreFragments = (fragment & moreFragments) !== 0;
    this.isFragment = this.moreFragments || this.fragmentOffset !== 0;
    this.fragmentId = wordAt(bytes, at + ipv4.id);
    return true;
  }

  /** The same for IPv6, behind its extension headers. Hot path. */
  readIpv6(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < ipv6Bytes) return false;
    const payloadBytes = wordAt(bytes, at + ipv6.payloadLength);
    if (byteAt(bytes, at + ipv6.version) >> 4 !== 6 || payloadBytes > end - at - ipv6Bytes) return false;
    this.version = 6;
    this.at = at;
    this.source = at + ipv6.source;
    this.destination = at + ipv6.destination;
    this.addressBytes = 16;
    this.protocol = byteAt(bytes, at + ipv6.nextHeader);
    this.payload = at + ipv6Bytes;
    this.end = this.payload + payloadBytes;
    this.fragmentOffset = 0;
    this.moreFragments = false;
    this.isFragment = false;
    this.fragmentId = 0;
    return this.#skipExtensions(bytes);
  }

  #skipExtensions(bytes: Uint8Array): boolean {
    for (let left = mostExtensions; left > 0; left--) {
      if (this.isFragment || !isExtension(this.protocol)) return true;
      const at = this.payload;
      if (this.end - at < extensionUnit) return false;
      const kind = this.protocol;
      const length = extensionBytes(kind, byteAt(bytes, at + 1));
      if (length > this.end - at) return false;
      if (kind === ipProtocol.fragment) this.#readFragment(bytes, at);
      this.protocol = byteAt(bytes, at);
      this.payload = at + length;
    }
    return false;
  }

  /** RFC 8200, 4.5. One that is all of its packet (RFC 6946) is none. */
  #readFragment(bytes: Uint8Array, at: number): void {
    const word = wordAt(bytes, at + 2);
    this.fragmentOffset = word & 0xfff8;
    this.moreFragments = (word & 1) !== 0;
    this.isFragment = this.moreFragments || this.fragmentOffset !== 0;
    this.fragmentId = longAt(bytes, at + 4);
  }
}

function isExtension(protocol: number): boolean {
  switch (protocol) {
    case ipProtocol.hopByHop:
    case ipProtocol.routing:
    case ipProtocol.fragment:
    case ipProtocol.authentication:
    case ipProtocol.destination:
    case ipProtocol.mobility:
    case ipProtocol.hostIdentity:
    case ipProtocol.shim6:
      return true;
    default:
      return false;
  }
}

function extensionBytes(kind: number, length: number): number {
  if (kind === ipProtocol.fragment) return extensionUnit;
  // RFC 4302, 2.2: in units of 4, the first two not included; but IPv6 keeps it a multiple of 8.
  if (kind === ipProtocol.authentication) return Math.max(extensionUnit, (length + 2) * 4);
  return (length + 1) * extensionUnit;
}
