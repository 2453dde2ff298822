import { viewMemory } from '../host/libc/memory.ts';
import { type MappedWindow, windowsOf } from '../host/mappings/mapping.ts';

/** Bytes of memory of any size as views of any place in them: a slice of up to 2 GiB is one array. */
export class WindowedBytes {
  readonly #sizeBytes: number;
  readonly #windows: readonly MappedWindow<Buffer>[];

  private constructor(sizeBytes: number, view: (offset: number, length: number) => Buffer) {
    this.#sizeBytes = sizeBytes;
    this.#windows = windowsOf(sizeBytes, view);
  }

  /** Of memory that threads share. */
  static ofShared(range: {
    readonly buffer: SharedArrayBuffer;
    readonly start: number;
    readonly sizeBytes: number;
  }): WindowedBytes {
    const { buffer, start, sizeBytes } = range;
    return new WindowedBytes(sizeBytes, (offset, length) => Buffer.from(buffer, start + offset, length));
  }

  /** Of a mapping. */
  static ofMapping(address: number, sizeBytes: number): WindowedBytes {
    return new WindowedBytes(sizeBytes, (offset, length) => Buffer.from(viewMemory(address + offset, length)));
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
