import { test } from 'tap';
import { SharedRange } from '../../../src/host/mapping.ts';
import { GiB } from '../../../src/memory/address.ts';
import { SharedBytes } from '../../../src/memory/shared-bytes.ts';

const sizeBytes = 7 * GiB;

function shared(t: { teardown(clean: () => void): void }): { range: SharedRange; bytes: SharedBytes } {
  const range = new SharedRange('a test', sizeBytes);
  t.teardown(() => range.close());
  return { range, bytes: new SharedBytes(range) };
}

test('a slice is the bytes that are shared, wherever it is in them', async (t) => {
  const { range, bytes } = shared(t);
  for (const offset of [0, 2 * GiB - 4, 4 * GiB - 4, 5 * GiB + 1, sizeBytes - 8]) {
    const there = new Uint8Array(range.buffer, range.start + offset, 8);
    there.set([1, 2, 3, 4, 5, 6, 7, 8]);
    const slice = bytes.slice(offset, 8);
    t.strictSame([...slice], [1, 2, 3, 4, 5, 6, 7, 8], `at ${offset}`);
    slice[0] = 9;
    t.equal(there[0], 9, 'not a copy');
    there.fill(0);
  }
});

test('a slice of up to 2 GiB lies whole in them, and none in no bytes', async (t) => {
  const { bytes } = shared(t);
  for (const offset of [0, GiB + 1, 3 * GiB, 5 * GiB]) t.equal(bytes.slice(offset, 2 * GiB).length, 2 * GiB);
  for (const offset of [0, 5 * GiB, sizeBytes]) t.equal(bytes.slice(offset, 0).length, 0);
});

test('refuses what is not in them, and says what that was', async (t) => {
  const { bytes } = shared(t);
  for (const [offset, length] of [
    [-1, 8],
    [-8, 4],
    [16, -8],
    [sizeBytes - 8, 9],
    [sizeBytes + 1, 0],
    [Number.NaN, 1],
    [0, Number.NaN],
    [0, 5 * GiB],
  ] as const) {
    t.throws(() => bytes.slice(offset, length), {
      name: 'RangeError',
      message: new RegExp(`\\[${offset}, \\+${length}\\) .*${sizeBytes} bytes`),
    });
  }
});
