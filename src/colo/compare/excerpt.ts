import { shownBytes } from './divergence.ts';
import type { Waiting } from './packet-store.ts';

/** A copy of a packet's bytes for a person to see, from one of them on. */
export function excerpt({ bytes, at, length }: Waiting, from: number): Uint8Array {
  return bytes.slice(at + from, at + Math.min(length, from + shownBytes));
}
