/** Bytes of the header in front of every packet (Virtio 1.2, 5.1.6: struct virtio_net_hdr, with num_buffers). */
export const headerBytes = 12;
/** Where in it num_buffers is, a u16. The kernel leaves these two bytes of a TAP's packets alone. */
export const bufferCountOffset = 10;
/** Ethernet addresses and type. */
export const ethernetBytes = 14;
/** In front of the type, of frames that belong to a VLAN. */
const vlanTagBytes = 4;
/** Header and the longest frame that is not a segment for others to cut. */
export const longestPlainPacket = (mtu = 1500): number => headerBytes + ethernetBytes + vlanTagBytes + mtu;
/** Header and a frame of nothing but addresses. */
export const shortestPacket = headerBytes + ethernetBytes;
/** Header and the longest frame that segmentation offload makes (5.1.6.3.1). */
export const longestPacket = headerBytes + 65_550;

/**
 * Where a card's packets come from and go to: a TAP, or a test's stand-in. A packet is a header of
 * {@link headerBytes} and an Ethernet frame. Nothing blocks; failures are negative errnos, -EAGAIN for `not now`.
 */
export interface PacketPort {
  /** Takes one packet into the `count` struct iovec at `iovAddress`; its bytes, at most as many as fit. */
  readv(iovAddress: number, count: number): number;
  /** Sends one packet from the `count` struct iovec at `iovAddress`. */
  writev(iovAddress: number, count: number): number;
  /** Whether it is to tell when it has packets: by an edge, also if it has some already. At first it is. */
  listen(isWanted: boolean): void;
  /** Which packets the card takes, besides plain ones: TUN_F bits. */
  setOffload(bits: number): number;
}
