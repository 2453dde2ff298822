import { gpa } from '../../../src/memory/address.ts';
import type { SharedRam } from '../../../src/memory/guest-ram.ts';
import { viewRam } from '../../../src/memory/ram.ts';

/** Writes to RAM that another thread made. */
export function writeRam(shared: SharedRam, address: number, value: number): number {
  const memory = viewRam(shared);
  const before = memory.readU32(gpa(address));
  memory.writeU32(gpa(address), value);
  return before;
}
