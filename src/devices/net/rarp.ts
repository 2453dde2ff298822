/** Bytes of the shortest Ethernet frame, without its checksum. */
const shortestFrameBytes = 60;
const etherTypeAt = 12;
const arpAt = 14;

/**
 * A reverse ARP request (RFC 903) from and for `mac`, to everybody: nobody answers it, and every switch that it passes learns where
 * that address is now.
 */
export function rarpRequest(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(shortestFrameBytes);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, mac.length);
  frame.set(mac, mac.length);
  view.setUint16(etherTypeAt, 0x8035);
  view.setUint16(arpAt, 1); // Ethernet
  view.setUint16(arpAt + 2, 0x0800); // IPv4
  view.setUint8(arpAt + 4, mac.length);
  view.setUint8(arpAt + 5, 4);
  view.setUint16(arpAt + 6, 3); // request reverse
  // Sender and target, each with an address of Ethernet and one of IPv4, which is not known.
  frame.set(mac, arpAt + 8);
  frame.set(mac, arpAt + 18);
  return frame;
}
