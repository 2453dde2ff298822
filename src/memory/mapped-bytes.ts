import { viewMemory } from '../host/libc.ts';
import { type MappedWindow, windowsOf } from '../host/mapping.ts';

/** Bytes of a mapping of any size as views: a slice of up to 2 GiB lies whole in one of its windows. */
export class MappedBytes {
  readonly #sizeBytes: number;
  readonly #windows: readonly MappedWindow<Buffer>[];

  constructor(address: number, sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#windows = windowsOf(sizeBytes, (offset, length) => Buffer.from(viewMemory(address + offset, length)));
  }

  /** [offset, offset + length), not a copy. @throws RangeError outside of the mapping */
  slice(offset: number, length: number): Buffer {
    for (const { offset: start, bytes } of this.#windows) {
      if (offset >= start && length >= 0 && offset + length <= start + bytes.length) {
        return bytes.subarray(offset - start, offset - start + length);
      }
    }
    throw new RangeError(
      `[${offset}, +${length}) is not in a mapping of ${this.#sizeBytes} bytes, or is cut by its windows`,
    );
  }
}
