import type { LibraryHandle } from 'koffi';
import { loadLibrary } from '../libc/library.ts';

/** Decompresses LZ4 blocks. Reads and writes nothing outside what it is given. */
export interface Lz4Decoder {
  /** A whole block from `source` into `target`; the bytes written, or a negative number if it is bad or does not fit. */
  block(source: Uint8Array, target: Uint8Array): number;
  /** The beginning of a block, as much as `target` holds or as there is. */
  head(source: Uint8Array, target: Uint8Array): number;
}

let decoder: Lz4Decoder | undefined | 'not looked for' = 'not looked for';

/** The system's LZ4 library, where there is one. Every Debian has it: apt and systemd need it. */
export function systemLz4(): Lz4Decoder | undefined {
  if (decoder === 'not looked for') {
    const library = loadLibrary('liblz4.so.1');
    decoder = library && decoderOf(library);
  }
  return decoder;
}

function decoderOf(library: LibraryHandle): Lz4Decoder {
  const whole = library.func('int LZ4_decompress_safe(const uint8_t *, uint8_t *, int, int)');
  const partial = library.func('int LZ4_decompress_safe_partial(const uint8_t *, uint8_t *, int, int, int)');
  return {
    block: (source, target) => whole(source, target, source.length, target.length),
    head: (source, target) => partial(source, target, source.length, target.length, target.length),
  };
}
