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

/**
 * Looks at all of RAM, over and over again, until the first cell of `control` is set; the second one counts. How often it was not what
 * is expected.
 */
export function watchRam({ bytes, start }: SharedRam, expected: Uint8Array, control: SharedArrayBuffer): number {
  const cells = new Int32Array(control);
  const seen = Buffer.from(bytes, start, expected.length);
  let different = 0;
  while (Atomics.load(cells, 0) === 0) {
    if (seen.compare(expected) !== 0) different++;
    Atomics.add(cells, 1, 1);
  }
  return different;
}
