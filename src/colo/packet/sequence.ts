/**
 * TCP's sequence numbers wrap (RFC 9293, 3.4). Here they are signed 32-bit integers; only differences have a meaning, and a
 * difference is right as long as two numbers lie less than 2^31 apart.
 */

/** How far `a` is ahead of `b`; negative if it is behind. */
export function distance(a: number, b: number): number {
  return (a - b) | 0;
}

/** `a` moved on by some bytes. */
export function advanced(a: number, by: number): number {
  return (a + by) | 0;
}

export function isBefore(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

/** The one that is further. */
export function later(a: number, b: number): number {
  return ((a - b) | 0) > 0 ? a : b;
}
