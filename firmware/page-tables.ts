import { GiB, type Gpa, gpa, MiB, pageSize } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { pageTableAddress } from '../src/memory/layout.ts';

/** What the boot page tables map, from 0: kernel, zero page and command line must lie below. */
export const identityMappedBytes = GiB;

/** Page table entry bits (Intel SDM volume 3, 4.5): present, writable, and in a directory "this is a 2 MiB page". */
const PRESENT = 1 << 0;
const WRITABLE = 1 << 1;
const PAGE_SIZE = 1 << 7;

/**
 * Writes the page tables of the 64-bit entry and returns what CR3 points to: address = physical address for
 * the first GiB. The kernel replaces them within its first page of code.
 */
export function writePageTables(memory: GuestMemory): Gpa {
  const pml4 = pageTableAddress;
  const pdpt = gpa(pml4 + pageSize);
  const directory = gpa(pdpt + pageSize);

  memory.zero(pml4, 3 * pageSize);
  memory.writeU64(pml4, BigInt(pdpt | PRESENT | WRITABLE));
  memory.writeU64(pdpt, BigInt(directory | PRESENT | WRITABLE));
  for (let index = 0; index < identityMappedBytes / (2 * MiB); index++) {
    // The upper half of each entry stays zero: every address here is below 4 GiB.
    memory.writeU32(gpa(directory + index * 8), (index * 2 * MiB) | PRESENT | WRITABLE | PAGE_SIZE);
  }
  return pml4;
}
