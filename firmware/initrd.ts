import { alignDown, alignUp, type Gpa, gpa, pageSize } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { KernelImageError } from './kernel-image-error.ts';
import { inMiB } from './kernel-room.ts';
import type { NamedFile } from './named-file.ts';

/**
 * Puts the initrd at the top of low RAM, as far as possible from the kernel that ends at `kernelEnd`, and
 * below `limit`, the first byte that it may not take.
 */
export function writeInitrd(
  memory: GuestMemory,
  { name, bytes }: NamedFile,
  kernelEnd: Gpa,
  limit: number,
): { readonly address: Gpa; readonly sizeBytes: number } {
  if (bytes.length === 0) {
    throw new KernelImageError('INITRD_EMPTY', `initrd ${name} is empty; give a cpio archive, or leave the initrd out`);
  }
  const address = alignDown(Math.min(memory.lowEnd, limit) - bytes.length, pageSize);
  const lowest = alignUp(kernelEnd, pageSize);
  if (address < lowest) {
    const needed = lowest + alignUp(bytes.length, pageSize);
    throw new KernelImageError(
      'INITRD_TOO_LARGE',
      `initrd ${name} of ${inMiB(bytes.length)} MiB does not fit beside the kernel, which ends at ${inMiB(lowest)} MiB; ` +
        (needed > limit
          ? `this kernel wants it below ${inMiB(limit)} MiB, so a smaller initrd is needed`
          : `the machine has ${inMiB(memory.sizeBytes)} MiB of memory and needs at least ${inMiB(needed)} MiB`),
    );
  }
  memory.write(gpa(address), bytes);
  return { address: gpa(address), sizeBytes: bytes.length };
}
