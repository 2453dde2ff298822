/** Numbers of the protocols, and bytes as they travel: most significant first. */

/** EtherType (IEEE 802). */
export const etherType = {
  ipv4: 0x0800,
  arp: 0x0806,
  rarp: 0x8035,
  vlan: 0x8100,
  ipv6: 0x86dd,
  serviceVlan: 0x88a8,
  /** What some switches used before 802.1ad. */
  oldServiceVlan: 0x9100,
} as const;

/** IP protocol numbers, and IPv6 extension headers, which share them. */
export const ipProtocol = {
  hopByHop: 0,
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  authentication: 51,
  icmp6: 58,
  none: 59,
  destination: 60,
  mobility: 135,
  hostIdentity: 139,
  shim6: 140,
} as const;

/** Where fields stand in a TCP header (RFC 9293, 3.1). */
export const tcpField = {
  sequence: 4,
  acknowledgement: 8,
  dataOffset: 12,
  flags: 13,
  window: 14,
  checksum: 16,
} as const;
/** Flags of a TCP header. */
export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 0x10, urg: 0x20, ece: 0x40, cwr: 0x80 } as const;

export const ethernetBytes = 14;
export const vlanTagBytes = 4;
export const ipv4Bytes = 20;
export const ipv6Bytes = 40;
export const tcpBytes = 20;
export const udpBytes = 8;
/** Type, code, checksum and four bytes that depend on the type. */
export const icmpBytes = 8;

/** struct virtio_net_hdr with num_buffers (Virtio 1.2, 5.1.6), little-endian. */
export const virtioNetHeader = {
  flags: 0,
  gsoType: 1,
  headerBytes: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
  bytes: 12,
  /** In flags: the checksum is a partial one, to be completed from checksumStart on. */
  needsChecksum: 1,
} as const;

/** One byte. The caller knows that it is within the packet. */
export function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

export function wordAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function littleWordAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at + 1] as number) << 8) | (bytes[at] as number);
}

/** Signed, so that it never needs a heap object. */
export function longAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

export function putWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

export function putLong(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 24;
  bytes[at + 1] = value >> 16;
  bytes[at + 2] = value >> 8;
  bytes[at + 3] = value;
}
