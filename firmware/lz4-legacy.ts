/**
 * LZ4 legacy frames, the form in which Linux stores an LZ4 kernel (`lz4 -l`):
 *
 *     02 21 4c 18 | size u32 | block (size bytes) | size u32 | block | ...
 *
 * Each block unpacks to at most 8 MiB and stands alone: it never refers to bytes of an earlier block.
 * A block is a run of sequences (LZ4 block format 1.6.2):
 *
 *     token (literals << 4 | match - 4) | more literal length | literals | offset u16 | more match length
 *
 * and its last sequence ends after the literals. A length nibble of 15 goes on in bytes up to one that is not 255.
 *
 * The bytes come from a file that anyone may have made: every read stays in the frame, every write in the target.
 */

/** The compressed bytes are not LZ4, or not whole. */
export class Lz4Error extends Error {
  readonly code = 'LZ4';
  /** Where in the source it went wrong, in bytes. */
  readonly offset: number;

  constructor(problem: string, offset: number) {
    super(`${problem} at byte ${offset} of the LZ4 data`);
    this.name = 'Lz4Error';
    this.offset = offset;
  }
}

/** First four bytes of a legacy frame, as a little-endian word. */
export const lz4LegacyMagic = 0x184c2102;

/** What one block may unpack to (LZ4 frame format, "legacy frame"). */
const maxBlockBytes = 8 * 1024 * 1024;

/** Copies at least this long are cheaper through the engine's memmove than in a loop. */
const longCopy = 48;

/** Unpacks the frame `source` into `target` and returns how many bytes it wrote. */
export function decodeLz4Legacy(source: Uint8Array, target: Uint8Array): number {
  return decodeFrame(source, target, false);
}

/** Unpacks only the first bytes of the frame: as many as `target` holds, or as there are. */
export function peekLz4Legacy(source: Uint8Array, target: Uint8Array): number {
  return decodeFrame(source, target, true);
}

function decodeFrame(source: Uint8Array, target: Uint8Array, stopWhenFull: boolean): number {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  if (source.length < 4 || view.getUint32(0, true) !== lz4LegacyMagic) throw new Lz4Error('no legacy frame', 0);
  let position = 4;
  let written = 0;
  while (position + 4 <= source.length && !(stopWhenFull && written === target.length)) {
    const size = view.getUint32(position, true);
    position += 4;
    // Frames may follow one another without a mark between them but the magic.
    if (size === lz4LegacyMagic) continue;
    if (size === 0 || size > source.length - position) throw new Lz4Error('a block that does not fit', position - 4);
    const limit = Math.min(target.length, written + maxBlockBytes);
    written = decodeLz4Block(source, position, position + size, target, written, limit, stopWhenFull);
    position += size;
  }
  if (position !== source.length && !stopWhenFull) throw new Lz4Error('left-over bytes', position);
  return written;
}

/**
 * Unpacks one block, source[from, to), into target[start, end) and returns the first byte not written.
 * More than fits is an error, or with `stopWhenFull` the end. Hot path: no allocation, bounds checked by hand
 * because a typed array would silently drop what lies outside it.
 */
export function decodeLz4Block(
  source: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  start: number,
  end: number,
  stopWhenFull: boolean,
): number {
  let input = from;
  let output = start;
  while (input < to) {
    const token = source[input++] as number;

    let length = token >>> 4;
    if (length === 15) {
      let more = 255;
      while (more === 255) {
        if (input >= to) throw new Lz4Error('a literal length without end', input);
        more = source[input++] as number;
        length += more;
      }
    }
    if (length > to - input) throw new Lz4Error('literals beyond the block', input);
    if (length > end - output) {
      if (!stopWhenFull) throw new Lz4Error('more data than announced', input);
      length = end - output;
      target.set(source.subarray(input, input + length), output);
      return end;
    }
    if (length < longCopy) {
      for (const stop = input + length; input < stop; ) target[output++] = source[input++] as number;
    } else {
      target.set(source.subarray(input, input + length), output);
      input += length;
      output += length;
    }
    if (input === to) return output;

    if (to - input < 2) throw new Lz4Error('half a match offset', input);
    const offset = (source[input] as number) | ((source[input + 1] as number) << 8);
    if (offset === 0 || offset > output - start) throw new Lz4Error('a match before the block', input);
    input += 2;

    length = (token & 15) + 4;
    if (length === 19) {
      let more = 255;
      while (more === 255) {
        if (input >= to) throw new Lz4Error('a match length without end', input);
        more = source[input++] as number;
        length += more;
      }
    }
    if (length > end - output) {
      if (!stopWhenFull) throw new Lz4Error('more data than announced', input);
      length = end - output;
    }
    output = copyMatch(target, output, offset, length);
    if (output === end && stopWhenFull) return end;
  }
  throw new Lz4Error('a block without its last literals', to);
}

/** Repeats the `offset` bytes before `output` until `length` are written. */
function copyMatch(target: Uint8Array, output: number, offset: number, length: number): number {
  let from = output - offset;
  if (length < longCopy) {
    for (const stop = output + length; output < stop; ) target[output++] = target[from++] as number;
    return output;
  }
  // What lies between `from` and `output` repeats: each copy doubles the stretch that the next may take.
  const stop = output + length;
  while (output < stop) {
    const chunk = Math.min(output - from, stop - output);
    target.copyWithin(output, from, from + chunk);
    output += chunk;
  }
  return stop;
}
