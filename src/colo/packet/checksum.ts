import type { PacketView } from './packet-view.ts';
import { putWord, wordAt } from './wire.ts';

/** The checksum of IP, TCP, UDP and ICMP (RFC 1071), from nothing and from the one before (RFC 1624). */

/**
 * Sums bytes as 16-bit words, one byte at the end with a zero behind it. Hot path.
 *
 * @param sum of what came before, which had an even number of bytes
 * @returns a sum that still has its carries: see {@link folded}
 */
export function summed(bytes: Uint8Array, from: number, to: number, sum = 0): number {
  let total = sum;
  let at = from;
  // A packet of 64 KiB sums to less than 2^32, which is exact.
  for (; at + 1 < to; at += 2) total += ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  if (at < to) total += (bytes[at] as number) << 8;
  return total;
}

/** A sum with its carries added in, 16 bits. */
export function folded(sum: number): number {
  let total = sum;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

/** The checksum that bytes with this sum get. */
export function complemented(sum: number): number {
  return ~folded(sum) & 0xffff;
}

/** The sum of the pseudo-header of a packet that is IP (RFC 9293, 3.1; RFC 8200, 8.1). This is what a partial checksum holds. */
export function pseudoHeaderSum({ bytes, ip, transport }: PacketView): number {
  const addresses = summed(bytes, ip.source, ip.source + 2 * ip.addressBytes);
  return folded(addresses + ip.protocol + (ip.end - transport));
}

/**
 * What the checksum field of a TCP or UDP packet must hold: a partial checksum (see {@link PacketView.partialChecksum}) or a whole
 * one. Of UDP a whole one of 0 means that there is none, and is sent as 0xffff: that is up to the caller.
 */
export function transportChecksum(view: PacketView): number {
  const pseudo = pseudoHeaderSum(view);
  if (view.partialChecksum === view.checksum) return pseudo;
  const { bytes, transport, ip, checksum } = view;
  return complemented(summed(bytes, transport, ip.end, pseudo) - wordAt(bytes, checksum));
}

/** Puts the right checksum into the header of a packet that is IPv4. */
export function fillIpv4Checksum({ bytes, ip }: PacketView): void {
  const field = ip.at + 10;
  putWord(bytes, field, 0);
  putWord(bytes, field, complemented(summed(bytes, ip.at, ip.payload)));
}

/** A checksum after one 16-bit word has changed (RFC 1624, equation 3). Hot path. */
export function adjusted(checksum: number, before: number, after: number): number {
  let sum = (~checksum & 0xffff) + (~before & 0xffff) + (after & 0xffff);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/**
 * A checksum after a 32-bit value has changed. Hot path.
 *
 * @param isOdd it begins at an odd offset of what is summed, as options of TCP may
 */
export function adjustedLong(checksum: number, before: number, after: number, isOdd = false): number {
  if (!isOdd) return adjusted(adjusted(checksum, before >>> 16, after >>> 16), before, after);
  // Its bytes lie in other halves of words, and sums do not mind an exchange of halves in all words (RFC 1071, 2B).
  const swapped = ((checksum & 0xff) << 8) | (checksum >>> 8);
  const sum = adjusted(adjusted(swapped, before >>> 16, after >>> 16), before, after);
  return ((sum & 0xff) << 8) | (sum >>> 8);
}
