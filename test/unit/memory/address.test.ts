import { test } from 'tap';
import { alignDown, alignUp, GiB, KiB, MiB } from '../../../src/memory/address.ts';

test('rounds to whole units, and leaves what is whole', async (t) => {
  const first = 5 * GiB;
  for (const [value, down, up] of [
    [0, 0, 0],
    [1, 0, 4096],
    [4095, 0, 4096],
    [4096, 4096, 4096],
    [4097, 4096, 8192],
    [first + 1, first, first + 4096],
    [first, first, first],
  ] as const) {
    t.equal(alignDown(value, 4096), down, `${value} down`);
    t.equal(alignUp(value, 4096), up, `${value} up`);
  }
});

test('a KiB is 1024 bytes, a MiB and a GiB 1024 of the one before', async (t) => {
  t.strictSame([KiB, MiB, GiB], [2 ** 10, 2 ** 20, 2 ** 30]);
});
