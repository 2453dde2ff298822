import type { Lz4Decoder } from '../src/host/system/lz4.ts';

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

/** Copies longer than this are cheaper through the engine's memmove than in a loop. */
const longCopy = 64;
/** Short copies go by words and may write this far too much, where there is room: what comes next covers it. */
const overshoot = 16;

/**
 * Unpacks the frame `source` into `target` and returns how many bytes it wrote. `library` unpacks a block where
 * there is one: several times faster than cold JavaScript. What it refuses, the decoder here names.
 */
export function decodeLz4Legacy(source: Uint8Array, target: Uint8Array, library?: Lz4Decoder): number {
  return decodeFrame(source, target, false, library);
}

/** Unpacks only the first bytes of the frame: as many as `target` holds, or as there are. */
export function peekLz4Legacy(source: Uint8Array, target: Uint8Array, library?: Lz4Decoder): number {
  return decodeFrame(source, target, true, library);
}

function decodeFrame(source: Uint8Array, target: Uint8Array, stopWhenFull: boolean, library?: Lz4Decoder): number {
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
    const block = source.subarray(position, position + size);
    const room = target.subarray(written, limit);
    const count = (stopWhenFull ? library?.head(block, room) : library?.block(block, room)) ?? -1;
    written =
      count >= 0
        ? written + count
        : decodeLz4Block(source, position, position + size, target, written, limit, stopWhenFull);
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
  const sourceView = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  const inputRoom = to - overshoot;
  const outputRoom = end - overshoot;
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
      target.set(source.subarray(input, input + end - output), output);
      return end;
    }
    if (length <= overshoot && input <= inputRoom && output <= outputRoom) {
      view.setInt32(output, sourceView.getInt32(input, true), true);
      view.setInt32(output + 4, sourceView.getInt32(input + 4, true), true);
      if (length > 8) {
        view.setInt32(output + 8, sourceView.getInt32(input + 8, true), true);
        view.setInt32(output + 12, sourceView.getInt32(input + 12, true), true);
      }
      input += length;
      output += length;
    } else if (length <= longCopy) {
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
    let match = output - offset;
    const stop = output + length;
    if (length > longCopy) {
      // What lies between `match` and `output` repeats: each copy doubles the stretch that the next may take.
      while (output < stop) {
        const chunk = Math.min(output - match, stop - output);
        target.copyWithin(output, match, match + chunk);
        output += chunk;
      }
    } else if (offset >= 4 && stop <= outputRoom) {
      // Word by word, so that from an offset of 4 on each word is written before it is read.
      do {
        view.setInt32(output, view.getInt32(match, true), true);
        view.setInt32(output + 4, view.getInt32(match + 4, true), true);
        output += 8;
        match += 8;
      } while (output < stop);
      output = stop;
    } else {
      while (output < stop) target[output++] = target[match++] as number;
    }
    if (stopWhenFull && output === end) return end;
  }
  throw new Lz4Error('a block without its last literals', to);
}
