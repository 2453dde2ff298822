import { IpHeaders } from './ip-headers.ts';
import { TcpOptions } from './tcp-options.ts';
import {
  byteAt,
  ethernetBytes,
  etherType,
  icmpBytes,
  ipProtocol,
  littleWordAt,
  longAt,
  tcpBytes,
  tcpField,
  udpBytes,
  virtioNetHeader,
  vlanTagBytes,
  wordAt,
} from './wire.ts';

/** What a packet is, as far as it is understood. */
export const packetKind = {
  /** Says that it is IP, or is cut off before it says what it is, and is malformed. */
  opaque: 0,
  /** Something other than IP, of which only the EtherType is known. */
  link: 1,
  /** ARP or RARP. */
  arp: 2,
  tcp: 3,
  udp: 4,
  icmp: 5,
  icmp6: 6,
  /** A piece of an IP packet, of whatever protocol. */
  fragment: 7,
  /** IP with a whole payload of another protocol. */
  ip: 8,
} as const;
export type PacketKind = (typeof packetKind)[keyof typeof packetKind];

/** More tags than any network has are no frame. */
const mostVlanTags = 4;
/** Of a frame without a tag: no tag has this identifier (IEEE 802.1Q, 9.6). */
export const noVlan = 0xfff;

const udp = { length: 4, checksum: 6 } as const;

/**
 * A packet where it lies: a virtio-net header, if there is one, and an Ethernet frame. One view is made once and pointed at one
 * packet after the other; what it says holds until the next. Offsets are of the buffer (`bytes[view.payload]`). Fields that
 * the packet's kind does not have are what they were before.
 *
 *     start           ethernet                    ip.at       transport      payload
 *     | virtio header | addresses | tags | type | IP headers | TCP header   | payload | padding |
 *                                                                                     ip.end    end
 */
export class PacketView {
  readonly #headerBytes: number;
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  kind: PacketKind = packetKind.opaque;

  // virtio-net header (Virtio 1.2, 5.1.6)
  /** VIRTIO_NET_HDR_GSO_*; 0: the packet is no bigger than the network takes. */
  gsoType = 0;
  /** Bytes of payload in each segment that it will be cut into. */
  gsoSize = 0;
  /**
   * Where a partial checksum is that somebody completes later: until then it sums the pseudo-header alone. 0: none. The sum is
   * to be taken from {@link checksumStart} on.
   */
  partialChecksum = 0;
  checksumStart = 0;

  // Ethernet
  ethernet = 0;
  etherType = 0;
  /** The two innermost VLAN identifiers, the inner one in the low 12 bits; {@link noVlan} where there is none. */
  vlans = 0;

  readonly ip = new IpHeaders();

  // TCP, UDP, ICMP
  /** Where the header behind IP begins. */
  transport = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** Where the checksum of TCP, UDP or ICMP is. */
  checksum = 0;
  /** What TCP or UDP carries; of ICMP what follows its first 8 bytes; else what follows IP. */
  payload = 0;
  payloadBytes = 0;

  // TCP
  /** Signed 32-bit integers. */
  sequence = 0;
  acknowledgement = 0;
  tcpFlags = 0;
  /** As it stands there, without its scale. */
  window = 0;
  readonly tcpOptions = new TcpOptions();

  // ICMP and ICMPv6
  icmpType = 0;
  icmpCode = 0;

  /** @param headerBytes of the virtio-net header before each frame; 0 for frames without one */
  constructor(headerBytes: 0 | 12 = virtioNetHeader.bytes) {
    this.#headerBytes = headerBytes;
  }

  /** Points the view at a packet. Whatever bytes these are, nothing outside them is read, and nothing is thrown. Hot path. */
  read(bytes: Uint8Array, offset: number, length: number): PacketKind {
    this.bytes = bytes;
    this.start = offset;
    this.end = offset + length;
    this.kind = this.#readFrame();
    return this.kind;
  }

  /**
   * Reads the TCP header of a packet of which only the first piece is here, as if it were whole: its kind is then `tcp`, and its
   * payload what there is of it. False: this is no such piece, or the header is not all in it.
   */
  openFirstFragment(): boolean {
    const { ip, kind } = this;
    if (kind !== packetKind.fragment || ip.fragmentOffset !== 0 || ip.protocol !== ipProtocol.tcp) return false;
    if (!this.#readTcp()) return false;
    this.kind = packetKind.tcp;
    return true;
  }

  /** The frame's length, without a virtio-net header. */
  get frameBytes(): number {
    return this.end - this.ethernet;
  }

  #readFrame(): PacketKind {
    const { bytes, start, end } = this;
    this.ethernet = Math.min(end, start + this.#headerBytes);
    this.gsoType = 0;
    this.gsoSize = 0;
    this.partialChecksum = 0;
    this.vlans = (noVlan << 12) | noVlan;
    if (end - this.ethernet < ethernetBytes || this.ethernet - start < this.#headerBytes) return packetKind.opaque;
    if (this.#headerBytes > 0 && !this.#readVirtioHeader()) return packetKind.opaque;
    let at = this.ethernet + ethernetBytes;
    let type = wordAt(bytes, at - 2);
    for (let tags = 0; isVlan(type); tags++) {
      if (tags === mostVlanTags || end - at < vlanTagBytes) return packetKind.opaque;
      const vlan = wordAt(bytes, at) & 0xfff;
      // A tag of no VLAN has a priority only (IEEE 802.1Q, 9.6): who answers it may have none.
      if (vlan !== 0) this.vlans = ((this.vlans & 0xfff) << 12) | vlan;
      type = wordAt(bytes, at + 2);
      at += vlanTagBytes;
    }
    this.etherType = type;
    this.payload = at;
    this.payloadBytes = end - at;
    switch (type) {
      case etherType.ipv4:
        return this.ip.readIpv4(bytes, at, end) ? this.#readTransport() : packetKind.opaque;
      case etherType.ipv6:
        return this.ip.readIpv6(bytes, at, end) ? this.#readTransport() : packetKind.opaque;
      case etherType.arp:
      case etherType.rarp:
        return packetKind.arp;
      default:
        return packetKind.link;
    }
  }

  #readVirtioHeader(): boolean {
    const { bytes, start } = this;
    this.gsoType = byteAt(bytes, start + virtioNetHeader.gsoType);
    this.gsoSize = littleWordAt(bytes, start + virtioNetHeader.gsoSize);
    if ((byteAt(bytes, start + virtioNetHeader.flags) & virtioNetHeader.needsChecksum) === 0) return true;
    this.checksumStart = this.ethernet + littleWordAt(bytes, start + virtioNetHeader.checksumStart);
    this.partialChecksum = this.checksumStart + littleWordAt(bytes, start + virtioNetHeader.checksumOffset);
    return this.partialChecksum + 2 <= this.end;
  }

  #readTransport(): PacketKind {
    const { bytes, ip } = this;
    this.transport = ip.payload;
    this.payload = ip.payload;
    this.payloadBytes = ip.end - ip.payload;
    if (ip.isFragment) return packetKind.fragment;
    switch (ip.protocol) {
      case ipProtocol.tcp:
        return this.#readTcp() ? packetKind.tcp : packetKind.opaque;
      case ipProtocol.udp:
        return this.#readUdp() ? packetKind.udp : packetKind.opaque;
      case ipProtocol.icmp:
      case ipProtocol.icmp6:
        if ((ip.protocol === ipProtocol.icmp) !== (ip.version === 4)) return packetKind.ip;
        if (this.payloadBytes < icmpBytes) return packetKind.opaque;
        this.icmpType = byteAt(bytes, ip.payload);
        this.icmpCode = byteAt(bytes, ip.payload + 1);
        this.checksum = ip.payload + 2;
        this.payload += icmpBytes;
        this.payloadBytes -= icmpBytes;
        return ip.version === 4 ? packetKind.icmp : packetKind.icmp6;
      default:
        return packetKind.ip;
    }
  }

  #readTcp(): boolean {
    const { bytes, transport: at } = this;
    if (this.payloadBytes < tcpBytes) return false;
    const headerBytes = (byteAt(bytes, at + tcpField.dataOffset) >> 4) * 4;
    if (headerBytes < tcpBytes || headerBytes > this.payloadBytes) return false;
    this.#readPorts(at);
    this.sequence = longAt(bytes, at + tcpField.sequence);
    this.acknowledgement = longAt(bytes, at + tcpField.acknowledgement);
    this.tcpFlags = byteAt(bytes, at + tcpField.flags);
    this.window = wordAt(bytes, at + tcpField.window);
    this.checksum = at + tcpField.checksum;
    this.payload = at + headerBytes;
    this.payloadBytes -= headerBytes;
    this.tcpOptions.read(bytes, at + tcpBytes, this.payload);
    return true;
  }

  #readUdp(): boolean {
    const { bytes, transport: at } = this;
    if (this.payloadBytes < udpBytes) return false;
    const length = wordAt(bytes, at + udp.length);
    if (length < udpBytes || length > this.payloadBytes) return false;
    this.#readPorts(at);
    this.checksum = at + udp.checksum;
    this.payload = at + udpBytes;
    this.payloadBytes = length - udpBytes;
    return true;
  }

  #readPorts(at: number): void {
    this.sourcePort = wordAt(this.bytes, at);
    this.destinationPort = wordAt(this.bytes, at + 2);
  }
}

function isVlan(type: number): boolean {
  return type === etherType.vlan || type === etherType.serviceVlan || type === etherType.oldServiceVlan;
}
