import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { test } from 'tap';
import type { Fd } from '../../../src/host/libc.ts';
import { GiB, gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { bufferedGuestMemory } from '../../../src/memory/guest-memory.ts';
import { Ram } from '../../../src/memory/ram.ts';
import { layOutRam } from '../../../src/memory/regions.ts';
import { writeSparse } from '../../../src/memory/sparse-write.ts';
import { namelessFile } from '../../support/nameless-file.ts';

interface Test {
  teardown(clean: () => void): void;
}

function ramOf(t: Test, sizeBytes: number): Ram {
  const ram = new Ram(sizeBytes);
  t.teardown(() => ram.close());
  return ram;
}

test('writes what is not zero to its place, and leaves holes for the rest', async (t) => {
  const ram = ramOf(t, 32 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(10).fill(1));
  ram.memory.write(gpa(3 * MiB), new Uint8Array(5 * MiB).fill(2));
  ram.memory.writeU8(gpa(32 * MiB - 1), 3);
  const fd = namelessFile(t, 33 * MiB);

  const result = await writeSparse(ram.memory, fd, MiB);

  const pages = 1 + (5 * MiB) / pageSize + 1;
  t.strictSame(result, { writtenPages: pages, zeroPages: (32 * MiB) / pageSize - pages });
  const file = readFileSync(`/proc/self/fd/${fd}`);
  t.ok(file.subarray(0, MiB).every((byte) => byte === 0));
  t.ok(file.subarray(MiB).equals(ram.memory.slice(gpa(0), 32 * MiB)));
  t.ok(fstatSync(fd).blocks * 512 < 6 * MiB, 'zeros take no room');
});

test('writes only the pages it is told, on both sides of the 32-bit hole', async (t) => {
  const ram = ramOf(t, 3 * GiB + 16 * MiB);
  const dirty = ram.memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
  for (const address of [0x5000, 0x6000, 0x9000, 4 * GiB + 0x3000]) ram.memory.writeU32(gpa(address), address / 0x1000);
  for (const page of [5, 9, 20]) dirty[0]?.mark(page);
  dirty[1]?.mark(3);
  const fd = namelessFile(t, 3 * GiB + 16 * MiB);

  t.strictSame(await writeSparse(ram.memory, fd, 0, dirty), { writtenPages: 3, zeroPages: 1 });

  const word = (offset: number): number => {
    const bytes = new Uint8Array(4);
    readSync(fd, bytes, 0, 4, offset);
    return new DataView(bytes.buffer).getUint32(0, true);
  };
  t.strictSame([0x5000, 0x6000, 0x9000, 3 * GiB + 0x3000].map(word), [5, 0, 9, 0x100003]);
});

test('lets other work run in between', async (t) => {
  const ram = ramOf(t, 64 * MiB);
  let ticks = 0;
  const tick = (): void => {
    ticks++;
    timer = setImmediate(tick);
  };
  let timer = setImmediate(tick);
  await writeSparse(ram.memory, namelessFile(t, 64 * MiB), 0);
  clearImmediate(timer);
  t.ok(ticks >= 7, `${ticks} turns`);
});

test('a full disk is an error with its code', async (t) => {
  const ram = ramOf(t, 2 * MiB);
  ram.memory.writeU8(gpa(0), 1);
  const fd = openSync('/dev/full', 'w') as Fd;
  t.teardown(() => closeSync(fd));
  await t.rejects(writeSparse(ram.memory, fd, 0), { code: 'ENOSPC', syscall: 'pwritev' });
});

test('refuses RAM that is not mapped', async (t) => {
  const memory = bufferedGuestMemory(layOutRam(2 * MiB));
  await t.rejects(writeSparse(memory, namelessFile(t, 2 * MiB), 0), { message: /not mapped/ });
});
