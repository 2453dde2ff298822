import { type Gpa, gpa } from '../src/memory/address.ts';
import { conventionalMemoryEnd, highMemoryStart } from '../src/memory/layout.ts';
import type { RamRegion } from '../src/memory/regions.ts';

/** Address range types of ACPI 6.4 section 15, table 15.1. */
export const e820Type = { ram: 1, reserved: 2 } as const;

/** One range of the map that a PC's firmware gives by INT 15h, E820h. */
export interface E820Entry {
  readonly address: Gpa;
  readonly sizeBytes: number;
  readonly type: (typeof e820Type)[keyof typeof e820Type];
}

/** Entries that struct boot_params has room for. */
export const e820Max = 128;

/** Tells the kernel which of its addresses are RAM: all but the range below 1 MiB that holds the ACPI tables. */
export function e820Map(regions: readonly RamRegion[]): E820Entry[] {
  const [low, ...rest] = regions;
  if (low === undefined) return [];
  return [
    { address: low.start, sizeBytes: conventionalMemoryEnd - low.start, type: e820Type.ram },
    { address: conventionalMemoryEnd, sizeBytes: highMemoryStart - conventionalMemoryEnd, type: e820Type.reserved },
    { address: highMemoryStart, sizeBytes: low.start + low.sizeBytes - highMemoryStart, type: e820Type.ram },
    ...rest.map(({ start, sizeBytes }) => ({ address: gpa(start), sizeBytes, type: e820Type.ram })),
  ];
}
