import { fillIpv4Checksum, transportChecksum } from './checksum.ts';
import { type PacketView, packetKind } from './packet-view.ts';
import { byteAt, longAt, putLong, putWord, tcpField, tcpFlag, virtioNetHeader, wordAt } from './wire.ts';

/** A packet of TCP made two, as a network card that segments would have: what it carries, and where, stays the same. */

const ipv4TotalLength = 2;
const ipv6PayloadLength = 4;
/** What belongs to the beginning of a connection, ends one at once, or points into the payload: such a packet stays whole. */
const uncut = tcpFlag.syn | tcpFlag.rst | tcpFlag.urg;
/** What its last byte says. */
const ofTheEnd = tcpFlag.fin | tcpFlag.psh;

/** Whether the packet in view may be cut behind so many bytes of its payload. */
export function mayBeCut({ kind, tcpFlags, payloadBytes }: PacketView, bytes: number): boolean {
  return kind === packetKind.tcp && (tcpFlags & uncut) === 0 && bytes > 0 && bytes < payloadBytes;
}

/**
 * Makes a packet of the first bytes of the payload of the one in view, which stays as it is, and {@link mayBeCut} there.
 *
 * @param to has room for it
 * @param made is pointed at it, in `to`
 * @returns its length
 */
export function copyFront(view: PacketView, payloadBytes: number, to: Uint8Array, made: PacketView): number {
  const length = view.payload + payloadBytes - view.start;
  to.set(view.bytes.subarray(view.start, view.start + length));
  const flags = view.transport - view.start + tcpField.flags;
  to[flags] = byteAt(to, flags) & ~ofTheEnd;
  shorten(to, 0, view, view.payloadBytes - payloadBytes);
  finish(made, to, 0, length);
  return length;
}

/**
 * Takes the first bytes of the payload away from the packet in view, in place: its headers move so far on. It {@link mayBeCut} there. The
 * view is pointed at what is left, which begins so many bytes later and ends where it did.
 */
export function takeFront(view: PacketView, payloadBytes: number): void {
  const { bytes, start, end, payload, transport } = view;
  const from = start + payloadBytes;
  const sequence = transport + payloadBytes + tcpField.sequence;
  bytes.copyWithin(from, start, payload);
  putLong(bytes, sequence, (longAt(bytes, sequence) + payloadBytes) | 0);
  shorten(bytes, from, view, payloadBytes);
  finish(view, bytes, from, end - from);
}

/** Headers that begin at `at` and are those in view say so many bytes less. */
function shorten(
  bytes: Uint8Array,
  at: number,
  { ip, start, payloadBytes, gsoType, gsoSize }: PacketView,
  by: number,
): void {
  const length = at + (ip.at - start) + (ip.version === 4 ? ipv4TotalLength : ipv6PayloadLength);
  putWord(bytes, length, wordAt(bytes, length) - by);
  if (gsoType === 0 || payloadBytes - by > gsoSize) return;
  // It is one segment: a kernel may refuse such a one that says that it is several.
  bytes[at + virtioNetHeader.gsoType] = 0;
  bytes[at + virtioNetHeader.gsoSize] = 0;
  bytes[at + virtioNetHeader.gsoSize + 1] = 0;
}

function finish(view: PacketView, bytes: Uint8Array, at: number, length: number): void {
  view.read(bytes, at, length);
  if (view.ip.version === 4) fillIpv4Checksum(view);
  putWord(bytes, view.checksum, transportChecksum(view));
}
