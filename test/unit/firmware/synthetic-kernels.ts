/** Kernels small enough to write in a test: real headers around made-up code. */

/** A repeatable stream of numbers: mulberry32. */
export function seeded(seed: number): { below(limit: number): number; bytes(length: number): Uint8Array } {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    below: (limit) => next() % limit,
    bytes: (length) => Uint8Array.from({ length }, next),
  };
}

/** Noise, runs and repeats at every small distance: unpacking it takes every kind of copy. */
export function textured(seed: number, length: number): Uint8Array {
  const random = seeded(seed);
  const bytes = new Uint8Array(length);
  let position = 0;
  while (position < length) {
    const run = Math.min(1 + random.below(random.below(8) === 0 ? 600 : 40), length - position);
    const back = 1 + random.below(40);
    if (position > back && random.below(3) > 0) {
      for (let index = 0; index < run; index++) bytes[position + index] = bytes[position + index - back] ?? 0;
    } else {
      bytes.set(random.bytes(run), position);
    }
    position += run;
  }
  return bytes;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export interface SyntheticSegment {
  readonly offset: number;
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Defaults to the length of `bytes`. */
  readonly memoryBytes?: number;
}

export interface SyntheticElf {
  readonly segments: readonly SyntheticSegment[];
  readonly entry?: number;
  /** Adds a PVH entry note. */
  readonly pvhEntry?: number;
  readonly machine?: number;
  readonly elfClass?: number;
}

/** Where the PVH note lies in the file, when there is one: behind the headers. */
const noteOffset = 0x400;

export function syntheticElf({ segments, entry, pvhEntry, machine = 62, elfClass = 2 }: SyntheticElf): Uint8Array {
  const end = Math.max(noteOffset + 64, ...segments.map(({ offset, bytes }) => offset + bytes.length));
  const file = new Uint8Array(end);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, elfClass, 1, 1]);
  view.setUint16(18, machine, true);
  view.setBigUint64(24, BigInt(entry ?? segments[0]?.address ?? 0), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments.length + (pvhEntry === undefined ? 0 : 1), true);
  let header = 64;
  const program = (type: number, offset: number, address: number, fileBytes: number, memoryBytes: number): void => {
    view.setUint32(header, type, true);
    view.setBigUint64(header + 8, BigInt(offset), true);
    view.setBigUint64(header + 24, BigInt(address), true);
    view.setBigUint64(header + 32, BigInt(fileBytes), true);
    view.setBigUint64(header + 40, BigInt(memoryBytes), true);
    view.setBigUint64(header + 48, 4n, true);
    header += 56;
  };
  for (const { offset, address, bytes, memoryBytes } of segments) {
    program(1, offset, address, bytes.length, memoryBytes ?? bytes.length);
    file.set(bytes, offset);
  }
  if (pvhEntry !== undefined) {
    const other = joined(u32(4), u32(4), u32(1), Uint8Array.of(0x47, 0x4e, 0x55, 0), u32(0));
    const note = joined(u32(4), u32(8), u32(18), Uint8Array.of(0x58, 0x65, 0x6e, 0), u32(pvhEntry), u32(0));
    program(4, noteOffset, 0, other.length + note.length, other.length + note.length);
    file.set(joined(other, note), noteOffset);
  }
  return file;
}

/** A vmlinux of three segments that must move by different distances, as Debian's do, with some zeroed memory. */
export function threeSegments(): SyntheticElf & { readonly segments: readonly SyntheticSegment[] } {
  return {
    segments: [
      { offset: 0x1000, address: 0x20_0000, bytes: textured(1, 0x3000) },
      { offset: 0x6000, address: 0x20_4000, bytes: textured(2, 0x2100) },
      { offset: 0x9000, address: 0x20_6200, bytes: textured(3, 0x1000), memoryBytes: 0x5000 },
    ],
  };
}

export interface SyntheticBzImage {
  /** What the payload holds before compression. */
  readonly vmlinux: Uint8Array;
  /** Gives the whole payload; its last four bytes must be the unpacked size, as gzip's are by themselves. */
  readonly compress?: (bytes: Uint8Array) => Uint8Array;
  readonly version?: number;
  readonly xloadflags?: number;
  readonly initrdAddrMax?: number;
  readonly initSize?: number;
  readonly commandLineMaxBytes?: number;
}

export const setupBytes = 5 * 512;
/** The payload begins this far into the protected-mode code. */
export const payloadOffset = 0x300;
export const prefAddress = 0x20_0000;

export function syntheticBzImage(options: SyntheticBzImage): Uint8Array {
  const payload = (options.compress ?? lz4WithSize)(options.vmlinux);
  const paragraphs = Math.ceil((payloadOffset + payload.length) / 16);
  const file = new Uint8Array(setupBytes + paragraphs * 16);
  const view = new DataView(file.buffer);
  file.fill(0xee, 0, 0x1f1);
  file.fill(0xee, 0x26c, setupBytes);
  file[0x1f1] = setupBytes / 512 - 1;
  view.setUint32(0x1f4, paragraphs, true);
  view.setUint16(0x1fe, 0xaa55, true);
  file.set([0xeb, 0x6a], 0x200);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, options.version ?? 0x020f, true);
  file[0x211] = 1;
  view.setUint32(0x214, 0x10_0000, true);
  view.setUint32(0x22c, options.initrdAddrMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  file[0x234] = 1;
  view.setUint16(0x236, options.xloadflags ?? 0x7f, true);
  view.setUint32(0x238, options.commandLineMaxBytes ?? 2047, true);
  view.setUint32(0x248, payloadOffset, true);
  view.setUint32(0x24c, payload.length, true);
  view.setBigUint64(0x258, BigInt(prefAddress), true);
  view.setUint32(0x260, options.initSize ?? 0x10_0000, true);
  file.fill(0x90, setupBytes, setupBytes + payloadOffset);
  file.set(payload, setupBytes + payloadOffset);
  return file;
}

/** An LZ4 payload as Linux builds it. */
function lz4WithSize(bytes: Uint8Array): Uint8Array {
  return joined(lz4Legacy(bytes), u32(bytes.length));
}

/** What `lz4 -l` does, less well: blocks of 8 MiB, the nearest earlier match by a hash of four bytes. */
export function lz4Legacy(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(0x02, 0x21, 0x4c, 0x18)];
  for (let start = 0; start < bytes.length; start += 8 * 2 ** 20) {
    const block = lz4Block(bytes.subarray(start, start + 8 * 2 ** 20));
    parts.push(u32(block.length), block);
  }
  return joined(...parts);
}

export function lz4Block(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const last = new Map<number, number>();
  const output: number[] = [];
  const length = (value: number): void => {
    let rest = value - 15;
    for (; rest >= 255; rest -= 255) output.push(255);
    output.push(rest);
  };
  const sequence = (literals: Uint8Array, match?: { readonly offset: number; readonly length: number }): void => {
    const extra = match === undefined ? 0 : match.length - 4;
    output.push((Math.min(literals.length, 15) << 4) | Math.min(extra, 15));
    if (literals.length >= 15) length(literals.length);
    for (const byte of literals) output.push(byte);
    if (match === undefined) return;
    output.push(match.offset & 0xff, match.offset >> 8);
    if (extra >= 15) length(extra);
  };

  let literalStart = 0;
  let position = 0;
  // The last five bytes are literals, and no match starts in the last twelve (block format, end conditions).
  while (position + 12 < bytes.length) {
    const word = view.getUint32(position, true);
    const candidate = last.get(word);
    last.set(word, position);
    if (candidate === undefined || position - candidate > 0xffff) {
      position++;
      continue;
    }
    let matched = 4;
    while (position + matched < bytes.length - 5 && bytes[candidate + matched] === bytes[position + matched]) matched++;
    sequence(bytes.subarray(literalStart, position), { offset: position - candidate, length: matched });
    position += matched;
    literalStart = position;
  }
  sequence(bytes.subarray(literalStart));
  return Uint8Array.from(output);
}
