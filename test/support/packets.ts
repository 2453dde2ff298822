import { transportChecksum } from '../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { etherType, ipProtocol, putLong, putWord, tcpFlag } from '../../src/colo/packet/wire.ts';

/** Packets as a guest's kernel or a network makes them, with whatever a test wants to be otherwise. */

export interface FrameParts {
  /** Of a virtio-net header in front; undefined: twelve zeros. `none`: no such header. */
  readonly header?: Uint8Array | 'none';
  /** Tags from the outside in: EtherType and identifier. */
  readonly tags?: readonly (readonly [type: number, id: number])[];
  readonly type?: number;
  /** Bytes of padding behind the frame. */
  readonly padding?: number;
}

export interface IpParts extends FrameParts {
  readonly version?: 4 | 6;
  readonly source?: readonly number[];
  readonly destination?: readonly number[];
  readonly protocol?: number;
  /** IPv4 options; a multiple of 4 bytes. */
  readonly ipOptions?: readonly number[];
  /** IPv6 extension headers, the last of which names the protocol. */
  readonly extensions?: readonly number[];
  readonly firstExtension?: number;
  readonly id?: number;
  /** IPv4's flags and offset as they stand there. */
  readonly fragment?: number;
  readonly ttl?: number;
}

export interface TcpParts extends IpParts {
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly options?: readonly number[];
  readonly payload?: Uint8Array | readonly number[] | string;
  /** Left for somebody else to complete. */
  readonly partialChecksum?: boolean;
}

export function frame(body: Uint8Array | readonly number[], parts: FrameParts = {}): Uint8Array {
  const { header = new Uint8Array(12), tags = [], type = etherType.ipv4, padding = 0 } = parts;
  const tagged = tags.flatMap(([tag, id]) => [...word(tag), ...word(id)]);
  const addresses = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
  const front = header === 'none' ? [] : header;
  return Uint8Array.from([...front, ...addresses, ...tagged, ...word(type), ...body, ...new Array(padding).fill(0)]);
}

export function ipPacket(payload: Uint8Array | readonly number[], parts: IpParts = {}): Uint8Array {
  const { version = 4, protocol = ipProtocol.tcp, id = 0, fragment = 0, ttl = 64, ipOptions = [] } = parts;
  const source = parts.source ?? (version === 4 ? [192, 0, 2, 1] : [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 1]);
  const destination =
    parts.destination ?? (version === 4 ? [198, 51, 100, 7] : [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 7]);
  if (version === 4) {
    const headerBytes = 20 + ipOptions.length;
    const length = headerBytes + payload.length;
    const head = [0x40 | (headerBytes / 4), 0, ...word(length), ...word(id), ...word(fragment), ttl, protocol, 0, 0];
    return frame([...head, ...source, ...destination, ...ipOptions, ...payload], { type: etherType.ipv4, ...parts });
  }
  const { extensions = [], firstExtension = protocol } = parts;
  const head = [0x60, 0, id >> 8, id & 0xff, ...word(extensions.length + payload.length), firstExtension, ttl];
  return frame([...head, ...source, ...destination, ...extensions, ...payload], { type: etherType.ipv6, ...parts });
}

export function tcpPacket(parts: TcpParts = {}): Uint8Array {
  const { sourcePort = 80, destinationPort = 40_112, sequence = 1000, acknowledgement = 500 } = parts;
  const { flags = tcpFlag.ack, window = 501, options = [], partialChecksum = false } = parts;
  const padded = [...options, ...new Array((4 - (options.length % 4)) % 4).fill(0)];
  const payload = bytesOf(parts.payload ?? []);
  const segment = new Uint8Array(20 + padded.length + payload.length);
  putWord(segment, 0, sourcePort);
  putWord(segment, 2, destinationPort);
  putLong(segment, 4, sequence);
  putLong(segment, 8, acknowledgement);
  segment[12] = (5 + padded.length / 4) << 4;
  segment[13] = flags;
  putWord(segment, 14, window);
  segment.set(padded, 20);
  segment.set(payload, 20 + padded.length);
  const packet = ipPacket(segment, { protocol: ipProtocol.tcp, ...parts });
  return withChecksum(packet, partialChecksum, parts);
}

export interface UdpParts extends IpParts {
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly payload?: Uint8Array | readonly number[] | string;
}

export function udpPacket(parts: UdpParts = {}): Uint8Array {
  const { sourcePort = 53, destinationPort = 40_112 } = parts;
  const payload = bytesOf(parts.payload ?? []);
  const datagram = [...word(sourcePort), ...word(destinationPort), ...word(8 + payload.length), 0, 0, ...payload];
  return withChecksum(ipPacket(datagram, { protocol: ipProtocol.udp, ...parts }), false, parts);
}

/** Without a right checksum. */
export function icmpPacket(type: number, code: number, rest: readonly number[], parts: IpParts = {}): Uint8Array {
  const protocol = parts.version === 6 ? ipProtocol.icmp6 : ipProtocol.icmp;
  return ipPacket([type, code, 0xab, 0xcd, ...rest], { protocol, ...parts });
}

/** The header in front of a packet whose checksum is to be completed from one place of the frame to another. */
export function virtioHeader(start: number, offset: number, gsoType = 0, gsoSize = 0): Uint8Array {
  const little = (value: number): number[] => [value & 0xff, value >> 8];
  return Uint8Array.from([1, gsoType, 0, 0, ...little(gsoSize), ...little(start), ...little(offset), 0, 0]);
}

function withChecksum(packet: Uint8Array, partial: boolean, { header }: FrameParts): Uint8Array {
  const view = new PacketView(header === 'none' ? 0 : 12);
  const kind = view.read(packet, 0, packet.length);
  if (kind !== packetKind.tcp && kind !== packetKind.udp) return packet;
  if (partial) {
    packet.set(virtioHeader(view.transport - view.ethernet, view.checksum - view.transport), 0);
    view.read(packet, 0, packet.length);
  }
  putWord(packet, view.checksum, transportChecksum(view));
  return packet;
}

export function bytesOf(text: Uint8Array | readonly number[] | string): Uint8Array {
  return typeof text === 'string' ? new TextEncoder().encode(text) : Uint8Array.from(text);
}

export function word(value: number): [number, number] {
  return [(value >> 8) & 0xff, value & 0xff];
}

export function long(value: number): number[] {
  return [...word(value >>> 16), ...word(value & 0xffff)];
}
