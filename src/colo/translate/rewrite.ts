import { adjustedLong } from '../packet/checksum.ts';
import type { PacketView } from '../packet/packet-view.ts';
import { longAt, putLong, putWord, wordAt } from '../packet/wire.ts';

/**
 * Puts another 32-bit number into a packet of TCP or ICMP, in place, and keeps its checksum as right or wrong as it was. A partial
 * checksum sums addresses and length alone, so that it stays. Hot path.
 *
 * @param at of the buffer, within what the checksum sums
 */
export function replaceLong(view: PacketView, at: number, value: number): void {
  const { bytes, checksum, transport } = view;
  const before = longAt(bytes, at);
  if (before === value) return;
  putLong(bytes, at, value);
  if (view.partialChecksum === checksum) return;
  const isOdd = ((at - transport) & 1) !== 0;
  putWord(bytes, checksum, adjustedLong(wordAt(bytes, checksum), before, value, isOdd));
}

/** Moves a 32-bit number on by `by`, which wraps. Hot path. */
export function moveLong(view: PacketView, at: number, by: number): void {
  replaceLong(view, at, (longAt(view.bytes, at) + by) | 0);
}
