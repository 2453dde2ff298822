/** Numbers as the bytes of a message, and back. */
export function toBytes(numbers: readonly number[]): Uint8Array {
  return new Uint8Array(new Float64Array(numbers).buffer);
}

export function fromBytes(bytes: Uint8Array): Float64Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  return new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 8);
}
