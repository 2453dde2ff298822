import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'tap';
import { GiB, gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { CheckpointedMemory } from '../../../src/memory/checkpointed-memory.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { inThread } from '../../support/thread.ts';

function make(t: { teardown(clean: () => void): void }, sizeBytes = 16 * MiB, mostCopies?: number): CheckpointedMemory {
  const memory = new CheckpointedMemory(sizeBytes, mostCopies);
  t.teardown(() => memory.close());
  return memory;
}

/** Bytes of pages that this process has for itself alone. */
function copiedBytes(): number {
  return Number(/^Private_Dirty:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))?.[1]) * 1024;
}

test('goes back to its checkpoint where it is told to, and nowhere else', async (t) => {
  const memory = make(t);
  memory.write(10, new Uint8Array(2 * pageSize).fill(7));
  memory.memory.writeU8(gpa(10 * pageSize), 1);
  memory.memory.writeU8(gpa(11 * pageSize), 2);
  const dirty = new DirtyBitmap(memory.memory.sizeBytes / pageSize);
  dirty.mark(10);

  memory.rollBack([dirty]);

  t.equal(memory.memory.readU8(gpa(10 * pageSize)), 7);
  t.equal(memory.memory.readU8(gpa(11 * pageSize)), 2);
});

test('goes back above the 32-bit hole too', async (t) => {
  const memory = make(t, 3 * GiB + 16 * MiB);
  const page = (3 * GiB) / pageSize + 5;
  const address = gpa(4 * GiB + 5 * pageSize);
  memory.write(page, new Uint8Array(pageSize).fill(9));
  t.equal(memory.memory.readU8(address), 9);
  memory.memory.writeU8(address, 1);
  const dirty = memory.memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
  dirty[1]?.mark(5);
  memory.rollBack(dirty);
  t.equal(memory.memory.readU8(address), 9);
});

test('leaves no more copies than it may', async (t) => {
  const pages = (128 * MiB) / pageSize;
  const memory = make(t, 256 * MiB, 100);
  memory.write(0, new Uint8Array(pages * pageSize).fill(1));
  const before = copiedBytes();
  const dirty = new DirtyBitmap(memory.memory.sizeBytes / pageSize);
  for (let page = 0; page < pages; page++) memory.memory.writeU8(gpa(page * pageSize), 2);
  dirty.markBytes(0, pages * pageSize);
  t.ok(copiedBytes() - before > 120 * MiB, 'the pages written are copies');
  memory.rollBack([dirty]);
  t.ok(copiedBytes() - before < 8 * MiB, `${copiedBytes() - before} bytes`);
});

test('is the same RAM in another thread, and records what was written', async (t) => {
  const memory = make(t);
  memory.write(5, new Uint8Array(pageSize).fill(1));
  memory.memory.tracking = true;
  const seen = await inThread(new URL('./threads.ts', import.meta.url), 'writeRam', memory.shared, 0x5000, 22);
  t.equal(seen, 0x0101_0101);
  t.equal(memory.memory.readU32(gpa(0x5000)), 22);
  t.equal(memory.memory.regions[0]?.written.has(5), true);
});

test('refuses pages outside of RAM, and parts of pages', async (t) => {
  const memory = make(t);
  const pages = memory.memory.sizeBytes / pageSize;
  for (const first of [-1, pages, pages - 1, 2 ** 40, Number.NaN]) {
    t.throws(() => memory.write(first, new Uint8Array(2 * pageSize)), RangeError, `write to ${first}`);
    t.throws(() => memory.zero(first, 2), RangeError, `zeros at ${first}`);
  }
  t.throws(() => memory.write(0, new Uint8Array(100)), { message: /not whole pages/ });
  t.throws(() => new CheckpointedMemory(4097), { message: /not a whole number of pages/ });
});

test('gives back what it opened, also if it cannot be made', async (t) => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const memory = new CheckpointedMemory(16 * MiB);
  memory.close();
  memory.close();
  t.throws(() => new CheckpointedMemory(2 ** 50), Error);
  t.equal(descriptors(), before);
});
