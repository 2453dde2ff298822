import { loadLibrary } from './libc.ts';

/**
 * Decompresses one LZ4 block from `source` into `target`; the bytes written, or a negative number if the block is bad
 * or does not fit. Reads and writes nothing outside the two.
 */
export type Lz4BlockDecoder = (source: Uint8Array, target: Uint8Array) => number;

let decoder: Lz4BlockDecoder | undefined | 'not looked for' = 'not looked for';

/** The system's LZ4 library, where there is one. Every Debian has it: apt and systemd need it. */
export function systemLz4(): Lz4BlockDecoder | undefined {
  if (decoder === 'not looked for') {
    const call = loadLibrary('liblz4.so.1')?.func(
      'int LZ4_decompress_safe(const uint8_t *, uint8_t *, int, int)',
    ) as unknown as ((source: Uint8Array, target: Uint8Array, sourceBytes: number, room: number) => number) | undefined;
    decoder = call && ((source, target) => call(source, target, source.length, target.length));
  }
  return decoder;
}
