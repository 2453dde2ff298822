import type { PacketView } from './packet-view.ts';
import { packetKind } from './packet-view.ts';
import { byteAt, ipProtocol, ipv4Bytes, ipv6Bytes, wordAt } from './wire.ts';

/** Errors that quote what they are about (RFC 792; RFC 4443, 2.1; of ICMP: unreachable, quench, redirect, time exceeded, parameter). */
const icmpErrors: ReadonlySet<number> = new Set([3, 4, 5, 11, 12]);
/** Unreachable, too big, time exceeded, parameter. */
const firstIcmp6Error = 1;
const lastIcmp6Error = 4;
/** What of TCP is always quoted: ports and sequence number. */
const quotedBytes = 8;

/**
 * The TCP header that an ICMP error quotes: the beginning of a packet that its receiver has sent. Offsets are of the buffer.
 *
 *     | IP | type, code, checksum | 4 bytes | IP: source, destination | ports | sequence | ... cut off anywhere
 */
export class QuotedSegment {
  version: 4 | 6 = 4;
  /** Where the addresses are: whoever gets the error is the source. */
  source = 0;
  destination = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** Where the sequence number is. */
  sequence = 0;

  /** False: the packet in view is no such error, or quotes something else. */
  read({ bytes, kind, icmpType, payload, payloadBytes }: PacketView): boolean {
    if (kind === packetKind.icmp) {
      return icmpErrors.has(icmpType) && this.#readIpv4(bytes, payload, payloadBytes);
    }
    const isError = kind === packetKind.icmp6 && icmpType >= firstIcmp6Error && icmpType <= lastIcmp6Error;
    return isError && this.#readIpv6(bytes, payload, payloadBytes);
  }

  #readIpv4(bytes: Uint8Array, at: number, length: number): boolean {
    if (length < ipv4Bytes) return false;
    const headerBytes = (byteAt(bytes, at) & 0xf) * 4;
    const isFirst = (wordAt(bytes, at + 6) & 0x1fff) === 0;
    if (byteAt(bytes, at) >> 4 !== 4 || headerBytes < ipv4Bytes || length < headerBytes + quotedBytes) return false;
    if (!isFirst || byteAt(bytes, at + 9) !== ipProtocol.tcp) return false;
    this.version = 4;
    this.#set(bytes, at + 12, at + 16, at + headerBytes);
    return true;
  }

  /** Guests put no extension headers before TCP. */
  #readIpv6(bytes: Uint8Array, at: number, length: number): boolean {
    if (length < ipv6Bytes + quotedBytes || byteAt(bytes, at) >> 4 !== 6) return false;
    if (byteAt(bytes, at + 6) !== ipProtocol.tcp) return false;
    this.version = 6;
    this.#set(bytes, at + 8, at + 24, at + ipv6Bytes);
    return true;
  }

  #set(bytes: Uint8Array, source: number, destination: number, tcp: number): void {
    this.source = source;
    this.destination = destination;
    this.sourcePort = wordAt(bytes, tcp);
    this.destinationPort = wordAt(bytes, tcp + 2);
    this.sequence = tcp + 4;
  }
}
