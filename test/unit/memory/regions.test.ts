import { test } from 'tap';
import { GiB, MiB } from '../../../src/memory/address.ts';
import { layOutRam } from '../../../src/memory/regions.ts';

test('puts 128 MiB in one piece at 0', async (t) => {
  t.strictSame(layOutRam(128 * MiB), [{ start: 0, sizeBytes: 128 * MiB, offset: 0 }]);
});

test('fills everything below the 32-bit hole first', async (t) => {
  t.strictSame(layOutRam(3 * GiB), [{ start: 0, sizeBytes: 3 * GiB, offset: 0 }]);
});

for (const [what, total] of [
  ['3.5 GiB', 3.5 * GiB],
  ['6 GiB', 6 * GiB],
  ['one page more than 3 GiB', 3 * GiB + 4096],
] as const) {
  test(`goes on at 4 GiB with what does not fit below the hole: ${what}`, async (t) => {
    t.strictSame(layOutRam(total), [
      { start: 0, sizeBytes: 3 * GiB, offset: 0 },
      { start: 4 * GiB, sizeBytes: total - 3 * GiB, offset: 3 * GiB },
    ]);
  });
}
