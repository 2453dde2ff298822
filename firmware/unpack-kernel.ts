import { systemLz4 } from '../src/host/system/lz4.ts';
import { type Gpa, gpa } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { highMemoryStart } from '../src/memory/layout.ts';
import type { BzImage } from './bzimage.ts';
import {
  canSettle,
  checkElfFits,
  copySegments,
  type Elf,
  elfHeadBytes,
  isElf,
  parseElf,
  settleSegments,
} from './elf.ts';
import { KernelImageError } from './kernel-image-error.ts';
import { tooLarge } from './kernel-room.ts';
import { decodeLz4Legacy, Lz4Error, peekLz4Legacy } from './lz4-legacy.ts';
import { identityMappedBytes } from './page-tables.ts';
import { parseRelocations, relocate, virtualSlots } from './relocate.ts';

/** Compressions that Linux offers for a bzImage, by the first bytes of its payload. */
const formats = [
  { name: 'LZ4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { name: 'gzip', magic: [0x1f, 0x8b] },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'LZMA', magic: [0x5d, 0x00, 0x00] },
  { name: 'LZO', magic: [0x89, 0x4c, 0x5a] },
] as const;

export type Compression = (typeof formats)[number]['name'];

/** How `bytes` are compressed, if they are. */
export function compressionOf(bytes: Uint8Array): Compression | undefined {
  return formats.find(({ magic }) => magic.every((byte, index) => bytes[index] === byte))?.name;
}

/** Picks one of `slots` equal places; node:crypto's randomInt is one. */
export type SlotChooser = (slots: number) => number;

/** A kernel in memory, ready to be entered. */
export interface UnpackedKernel {
  readonly entry: Gpa;
  /** First byte behind all that the kernel needs before it knows its memory. */
  readonly end: Gpa;
  readonly randomised: boolean;
}

/** Why a payload has to be unpacked by the guest, in words. */
export interface NotUnpackable {
  readonly reason: string;
}

/**
 * Unpacks the vmlinux of a bzImage into guest memory, at the addresses it is linked for. With `chooseSlot` it is
 * moved to a random virtual address, if it has what that takes.
 *
 * LZ4 goes straight into guest memory, so placed that the first segment needs no move. gzip takes a buffer of the
 * unpacked size while it works: zlib cannot write elsewhere.
 */
export function unpackKernel(
  memory: GuestMemory,
  image: BzImage,
  chooseSlot: SlotChooser | undefined,
): UnpackedKernel | NotUnpackable {
  const compression = compressionOf(image.payload);
  const { payload } = image;
  if (compression !== 'LZ4' && compression !== 'gzip') {
    return { reason: `its payload is compressed with ${compression ?? 'something unknown'}` };
  }
  if (payload.length < 4) throw corrupt(image, `its payload has ${payload.length} bytes`);
  const unpackedBytes = new DataView(payload.buffer, payload.byteOffset, payload.length).getUint32(
    payload.length - 4,
    true,
  );
  const room = memory.lowEnd - highMemoryStart;
  if (unpackedBytes > room) throw tooLarge(image.name, highMemoryStart + unpackedBytes, memory);

  const relocatable = chooseSlot !== undefined;
  const unpacked =
    compression === 'LZ4'
      ? unpackLz4(memory, image, unpackedBytes, relocatable)
      : unpackGzip(memory, image, unpackedBytes, relocatable);
  if ('reason' in unpacked) return unpacked;

  const { elf, relocations } = unpacked;
  const kernel = { entry: elf.entry, end: elf.end };
  if (relocations === undefined || chooseSlot === undefined) return { ...kernel, randomised: false };
  const delta = randomDelta(image, elf, chooseSlot);
  if (delta > 0) relocate(memory, image.name, elf, relocations, delta);
  return { ...kernel, randomised: true };
}

interface Placed {
  readonly elf: Elf;
  /** Undefined if nobody wants them, or the file has none. */
  readonly relocations: ReturnType<typeof parseRelocations>;
}

function unpackLz4(
  memory: GuestMemory,
  image: BzImage,
  unpackedBytes: number,
  relocatable: boolean,
): Placed | NotUnpackable {
  const frame = image.payload.subarray(0, -4);
  const head = new Uint8Array(Math.min(elfHeadBytes, unpackedBytes));
  const elf = parseUnpacked(
    image,
    decoded(image, () => head.subarray(0, peekLz4Legacy(frame, head, systemLz4()))),
    unpackedBytes,
  );
  const [first] = elf.segments;
  const base = gpa(first.address - first.offset);
  if (!canSettle(elf) || base < highMemoryStart) return { reason: 'its segments cannot be put in place' };
  checkBootable(elf, memory);
  if (base + unpackedBytes > memory.lowEnd) throw tooLarge(image.name, base + unpackedBytes, memory);

  const file = memory.fillableSlice(base, unpackedBytes);
  const written = decoded(image, () => decodeLz4Legacy(frame, file, systemLz4()));
  if (written !== unpackedBytes) throw corrupt(image, `its payload unpacks to ${written} bytes, not ${unpackedBytes}`);
  const relocations = relocatable ? parseRelocations(file.subarray(elf.fileEnd)) : undefined;
  settleSegments(memory, elf, base, unpackedBytes);
  return { elf, relocations };
}

function unpackGzip(memory: GuestMemory, image: BzImage, unpackedBytes: number, relocatable: boolean): Placed {
  // Not imported: most kernels need no zlib, and loading it takes a while.
  const { gunzipSync } = process.getBuiltinModule('node:zlib');
  // One chunk of the right size: otherwise zlib collects small ones and joins them, which takes the memory twice.
  const chunkSize = Math.max(unpackedBytes, 64);
  const file = decoded(image, () =>
    gunzipSync(image.payload, { chunkSize, maxOutputLength: Math.max(unpackedBytes, 1) }),
  );
  if (file.length !== unpackedBytes)
    throw corrupt(image, `its payload unpacks to ${file.length} bytes, not ${unpackedBytes}`);
  const elf = parseUnpacked(image, file, file.length);
  checkBootable(elf, memory);
  copySegments(memory, elf, file);
  return { elf, relocations: relocatable ? parseRelocations(file.subarray(elf.fileEnd)) : undefined };
}

function parseUnpacked(image: BzImage, head: Uint8Array, fileBytes: number): Elf {
  if (!isElf(head)) throw corrupt(image, 'its payload is no ELF file');
  return parseElf(image.name, head, fileBytes);
}

function checkBootable(elf: Elf, memory: GuestMemory): void {
  checkElfFits(elf, elf.entry, memory);
  if (elf.end > identityMappedBytes) {
    throw new KernelImageError('KERNEL_LAYOUT', `kernel ${elf.name} cannot be loaded: it lies above the first GiB`);
  }
}

function randomDelta(image: BzImage, elf: Elf, chooseSlot: SlotChooser): number {
  const imageBytes = Math.max(image.initSize, elf.end - elf.start);
  return chooseSlot(virtualSlots(elf.start, imageBytes, image.kernelAlignment)) * image.kernelAlignment;
}

/** Runs a decoder and turns what it has to say about the bytes into a sentence about the file. */
function decoded<T>(image: BzImage, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    if (cause instanceof Lz4Error) throw corrupt(image, cause.message, cause);
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (code.startsWith('Z_') || code === 'ERR_BUFFER_TOO_LARGE') throw corrupt(image, 'its gzip data is bad', cause);
    throw cause;
  }
}

function corrupt(image: BzImage, problem: string, cause?: unknown): KernelImageError {
  return new KernelImageError(
    'KERNEL_CORRUPT',
    `kernel ${image.name} is damaged: ${problem}; copy the file again`,
    cause,
  );
}
