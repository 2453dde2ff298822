import { type Test, test } from 'tap';
import { viewMemory } from '../../../src/host/libc/memory.ts';
import { AnonymousMapping, SharedRange } from '../../../src/host/mappings/mapping.ts';
import { GiB } from '../../../src/memory/address.ts';
import { WindowedBytes } from '../../../src/memory/windowed-bytes.ts';

const sizeBytes = 7 * GiB;

interface Rig {
  readonly bytes: WindowedBytes;
  /** The same bytes, seen in another way. */
  there(offset: number, length: number): Uint8Array;
}

const rigs: Readonly<Record<string, (t: Test) => Rig>> = {
  'memory that threads share': (t) => {
    const range = new SharedRange('a test', sizeBytes);
    t.teardown(() => range.close());
    return {
      bytes: WindowedBytes.ofShared(range),
      there: (offset, length) => new Uint8Array(range.buffer, range.start + offset, length),
    };
  },
  'a mapping': (t) => {
    const mapping = new AnonymousMapping('a test', sizeBytes);
    t.teardown(() => mapping.close());
    return {
      bytes: WindowedBytes.ofMapping(mapping.address, sizeBytes),
      there: (offset, length) => new Uint8Array(viewMemory(mapping.address + offset, length)),
    };
  },
};

for (const [name, rig] of Object.entries(rigs)) {
  test(`${name}: a slice is the bytes, wherever it is in them`, async (t) => {
    const { bytes, there } = rig(t);
    for (const offset of [0, 2 * GiB - 4, 4 * GiB - 4, 5 * GiB + 1, sizeBytes - 8]) {
      const same = there(offset, 8);
      same.set([1, 2, 3, 4, 5, 6, 7, 8]);
      const slice = bytes.slice(offset, 8);
      t.strictSame([...slice], [1, 2, 3, 4, 5, 6, 7, 8], `at ${offset}`);
      slice[0] = 9;
      t.equal(same[0], 9, 'not a copy');
      same.fill(0);
    }
  });

  test(`${name}: a slice of up to 2 GiB lies whole in it, and none in no bytes`, async (t) => {
    const { bytes } = rig(t);
    for (const offset of [0, GiB + 1, 3 * GiB, 5 * GiB]) t.equal(bytes.slice(offset, 2 * GiB).length, 2 * GiB);
    for (const offset of [0, 5 * GiB, sizeBytes]) t.equal(bytes.slice(offset, 0).length, 0);
  });

  test(`${name}: refuses what is not in it, and says what that was`, async (t) => {
    const { bytes } = rig(t);
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
}
