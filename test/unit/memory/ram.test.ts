import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { GiB, gpa, MiB } from '../../../src/memory/address.ts';
import { Ram } from '../../../src/memory/ram.ts';
import { inThread } from '../../support/thread.ts';

/** Memory this process really has, in bytes: pages of its own and of files. */
function residentBytes(): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

for (const backing of ['private', 'shared'] as const) {
  test(`6 GiB of ${backing} RAM cost nothing until they are touched`, async (t) => {
    const before = residentBytes();
    const ram = new Ram(6 * GiB, backing);
    t.teardown(() => ram.close());
    t.equal(ram.memory.sizeBytes, 6 * GiB);
    const grown = residentBytes() - before;
    t.ok(grown < 32 * MiB, `${grown} bytes`);

    ram.memory.writeU8(gpa(0), 1);
    ram.memory.writeU8(gpa(7 * GiB - 1), 2);
    t.equal(ram.memory.readU8(gpa(0)), 1);
    t.equal(ram.memory.readU8(gpa(7 * GiB - 1)), 2);
    t.ok(residentBytes() - before < 40 * MiB, 'two pages are two pages, or two huge ones');
  });

  test(`${backing} RAM is the same bytes in another thread, and so are its marks`, async (t) => {
    const ram = new Ram(16 * MiB, backing);
    t.teardown(() => ram.close());
    ram.memory.writeU32(gpa(0x5000), 11);
    ram.memory.tracking = true;

    const seen = await inThread(new URL('./threads.ts', import.meta.url), 'writeRam', ram.shared, 0x5000, 22);

    t.equal(seen, 11);
    t.equal(ram.memory.readU32(gpa(0x5000)), 22);
    t.equal(ram.memory.regions[0]?.written.has(5), true);
    t.equal(ram.memory.regions[0]?.written.count, 1);
  });
}

test('has a slot for each region, backed by one mapping', async (t) => {
  const ram = new Ram(3 * GiB + 64 * MiB);
  t.teardown(() => ram.close());
  const { address } = ram.shared;
  t.strictSame(ram.slots, [
    { slot: 0, guestAddress: 0, sizeBytes: 3 * GiB, hostAddress: address },
    { slot: 1, guestAddress: 4 * GiB, sizeBytes: 64 * MiB, hostAddress: address + 3 * GiB },
  ]);
});

test('does not confuse the end of low RAM with the beginning of high RAM', async (t) => {
  const ram = new Ram(3 * GiB + 64 * MiB);
  t.teardown(() => ram.close());
  ram.memory.writeU32(gpa(3 * GiB - 4), 1);
  ram.memory.writeU32(gpa(4 * GiB), 2);
  t.equal(ram.memory.readU32(gpa(3 * GiB - 4)), 1);
  t.equal(ram.memory.readU32(gpa(4 * GiB)), 2);
  t.throws(() => ram.memory.readU32(gpa(3 * GiB - 2)), { code: 'GUEST_MEMORY' });
  t.throws(() => ram.memory.readU8(gpa(3 * GiB)), { code: 'GUEST_MEMORY' });
  t.throws(() => ram.memory.readU8(gpa(4 * GiB + 64 * MiB)), { code: 'GUEST_MEMORY' });
});

test('is made of whole pages', async (t) => {
  t.throws(() => new Ram(4097), { message: /not a whole number of pages/ });
});
