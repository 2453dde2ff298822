import { GiB, type Gpa } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { KernelImageError } from './kernel-image-error.ts';

/**
 * Moving a kernel to another virtual address, as the bzImage's own decompressor does for KASLR
 * (Linux arch/x86/boot/compressed/misc.c, handle_relocations). A relocatable kernel has its addresses that must
 * change listed behind its ELF file, each the virtual address of a word as a sign-extended u32, zero before each list:
 *
 *     ELF | 0 | 64-bit words | 0 | 32-bit words to lower | 0 | 32-bit words to raise |     up to Linux 6.14
 *     ELF | 0 | 64-bit words | 0 | 32-bit words to raise |                                 from Linux 6.15
 */
export interface Relocations {
  readonly raise32: Uint32Array;
  readonly lower32: Uint32Array;
  readonly raise64: Uint32Array;
}

/** What the kernel image may span of its virtual window: KERNEL_IMAGE_SIZE with KASLR. */
const kernelImageBytes = GiB;
/** __START_KERNEL_map, in the form of the lists: physical 0 as the kernel image sees it. */
const startKernelMap = 0x8000_0000;

/** Reads the lists from `tail`, all that follows the ELF file. None, or something else there: undefined. */
export function parseRelocations(tail: Uint8Array): Relocations | undefined {
  if (tail.length === 0 || tail.length % 4 !== 0) return undefined;
  // A copy: the tail is wherever the file put it, and its place in guest memory is about to be used.
  const words = new Uint32Array(tail.slice().buffer);
  const lists: Uint32Array[] = [];
  for (let end = words.length; end > 0; ) {
    const zero = words.lastIndexOf(0, end - 1);
    if (zero < 0 || lists.length === 3) return undefined;
    lists.push(words.subarray(zero + 1, end));
    end = zero;
  }
  const [raise32, second, third] = lists;
  if (raise32 === undefined || second === undefined) return undefined;
  return third === undefined
    ? { raise32, lower32: new Uint32Array(0), raise64: second }
    : { raise32, lower32: second, raise64: third };
}

/** Virtual addresses, `alignment` apart, at which a kernel linked for `start` and `imageBytes` long may run. */
export function virtualSlots(start: Gpa, imageBytes: number, alignment: number): number {
  return Math.max(1, Math.floor((kernelImageBytes - start - imageBytes) / alignment) + 1);
}

/**
 * Moves the kernel that lies in memory at [start, end), by the virtual addresses it was linked for, up by
 * `delta` bytes of virtual address. Its physical place stays.
 */
export function relocate(
  memory: GuestMemory,
  name: string,
  { start, end }: { readonly start: Gpa; readonly end: Gpa },
  relocations: Relocations,
  delta: number,
): void {
  const bytes = memory.writableSlice(start, end - start);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const offsetOf = (address: number, width: number): number => {
    const offset = address - startKernelMap - start;
    if (offset < 0 || offset + width > bytes.length) {
      throw new KernelImageError('KERNEL_CORRUPT', `kernel ${name} is damaged: a relocation points outside the kernel`);
    }
    return offset;
  };
  for (const address of relocations.raise32) {
    const offset = offsetOf(address, 4);
    view.setUint32(offset, view.getUint32(offset, true) + delta, true);
  }
  for (const address of relocations.lower32) {
    const offset = offsetOf(address, 4);
    view.setUint32(offset, view.getUint32(offset, true) - delta, true);
  }
  for (const address of relocations.raise64) {
    const offset = offsetOf(address, 8);
    const low = view.getUint32(offset, true) + delta;
    view.setUint32(offset, low, true);
    if (low > 0xffff_ffff) view.setUint32(offset + 4, view.getUint32(offset + 4, true) + 1, true);
  }
}
