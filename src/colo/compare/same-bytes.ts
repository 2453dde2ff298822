/** Below so many bytes a loop is faster than a call out of JavaScript. */
const loopBytes = 64;
const { compare } = Buffer.prototype;

/** Whether two pieces are equal. Hot path. */
export function sameBytes(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  if (length >= loopBytes) return compare.call(a, b, bAt, bAt + length, aAt, aAt + length) === 0;
  for (let at = 0; at < length; at++) if (a[aAt + at] !== b[bAt + at]) return false;
  return true;
}

/** Where two pieces first differ; their length if they do not. */
export function firstDifference(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): number {
  for (let at = 0; at < length; at++) if (a[aAt + at] !== b[bAt + at]) return at;
  return length;
}
