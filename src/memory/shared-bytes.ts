import { windowsOf } from '../host/mapping.ts';

/** Bytes that threads share as views of any place in them: a slice of up to 2 GiB is one array. */
export class SharedBytes {
  readonly #windows: readonly { readonly offset: number; readonly bytes: Buffer }[];
  readonly #sizeBytes: number;

  constructor(range: { readonly buffer: SharedArrayBuffer; readonly start: number; readonly sizeBytes: number }) {
    this.#sizeBytes = range.sizeBytes;
    this.#windows = windowsOf(range.sizeBytes, (offset, length) =>
      Buffer.from(range.buffer, range.start + offset, length),
    );
  }

  /** [offset, offset + length), not a copy. @throws RangeError outside of them */
  slice(offset: number, length: number): Buffer {
    for (const { offset: start, bytes } of this.#windows) {
      if (offset >= start && length >= 0 && offset + length <= start + bytes.length) {
        return bytes.subarray(offset - start, offset - start + length);
      }
    }
    throw new RangeError(`[${offset}, +${length}) is not in ${this.#sizeBytes} bytes, or is cut by their windows`);
  }
}
