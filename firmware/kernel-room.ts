import { MiB } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { mmioHoleStart } from '../src/memory/layout.ts';
import { KernelImageError } from './kernel-image-error.ts';

/** Whole MiB, rounded up: the unit people give memory sizes in. */
export function inMiB(bytes: number): number {
  return Math.ceil(bytes / MiB);
}

/** The error for a kernel that needs RAM from 0 up to `end`. */
export function tooLarge(name: string, end: number, memory: GuestMemory): KernelImageError {
  return new KernelImageError(
    end > mmioHoleStart ? 'KERNEL_LAYOUT' : 'KERNEL_TOO_LARGE',
    end > mmioHoleStart
      ? `kernel ${name} cannot be loaded: it asks for memory up to 0x${end.toString(16)}, where no machine has RAM`
      : `kernel ${name} does not fit into ${inMiB(memory.sizeBytes)} MiB of memory; it needs at least ${inMiB(end)} MiB`,
  );
}
