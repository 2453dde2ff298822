/** Messages are cut from one piece after another: a buffer of its own for each takes longer than all that is done with it. */
const pieceNumbers = 8192;
let piece = new Float64Array(pieceNumbers);
let used = 0;

/** Numbers as the bytes of a message, and back. */
export function toBytes(numbers: readonly number[]): Uint8Array {
  if (used + numbers.length > piece.length) {
    piece = new Float64Array(Math.max(pieceNumbers, numbers.length));
    used = 0;
  }
  const first = used;
  for (let at = 0; at < numbers.length; at++) piece[used++] = numbers[at] as number;
  return new Uint8Array(piece.buffer, first * 8, numbers.length * 8);
}

export function fromBytes(bytes: Uint8Array): Float64Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  return new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 8);
}
