import { type Divergence, shownBefore, shownBytes } from './divergence.ts';
import type { Waiting } from './packet-store.ts';
import { firstDifference } from './same-bytes.ts';

/** A copy of a packet's bytes for a person to see, from one of them on. */
export function excerpt({ bytes, at, length }: Waiting, from: number): Uint8Array {
  return bytes.slice(at + from, at + Math.min(length, from + shownBytes));
}

/** A copy of a packet's last bytes before one of them. */
export function excerptBefore({ bytes, at }: Waiting, until: number): Uint8Array {
  return bytes.slice(at + Math.max(0, until - shownBefore), at + until);
}

/** Where two packets differ, one of P and one of S, and how. */
export function difference(
  mine: Waiting,
  theirs: Waiting,
): Pick<Divergence, 'position' | 'before' | 'primary' | 'secondary'> {
  const same = firstDifference(mine.bytes, mine.at, theirs.bytes, theirs.at, Math.min(mine.length, theirs.length));
  return {
    position: same,
    before: excerptBefore(mine, same),
    primary: excerpt(mine, same),
    secondary: excerpt(theirs, same),
  };
}
