import { test } from 'tap';
import { viewMemory } from '../../../../src/host/libc/memory.ts';
import { type IoVector, IoVectors } from '../../../../src/host/mappings/io-vector.ts';
import { randomNumbers } from '../../../support/random.ts';

/** Runs `body` with a vector that has room for `capacity` ranges. */
function withVector(capacity: number, body: (vector: IoVector) => void): void {
  const vectors = new IoVectors(2, capacity);
  try {
    body(vectors.vectors[1] as IoVector);
  } finally {
    vectors.close();
  }
}

type Range = readonly [address: number, length: number];

function rangesOf(vector: IoVector): Range[] {
  return Array.from({ length: vector.count }, (_, index) => [vector.addressOf(index), vector.lengthOf(index)]);
}

const ranges: readonly Range[] = [
  [0x1000, 512],
  [0x7fff_ffff_f000, 1],
  [0xffff_ffff, 0x1_0000_0001],
];

test('holds ranges of whole 64 bits as struct iovec', async (t) => {
  withVector(4, (vector) => {
    for (const [address, length] of ranges) t.equal(vector.add(address, length), true);
    t.strictSame(rangesOf(vector), ranges);
    t.equal(vector.bytes, 512 + 1 + 0x1_0000_0001);
    t.strictSame(
      [...new BigUint64Array(viewMemory(vector.address, 48))],
      ranges.flatMap(([address, length]) => [BigInt(address), BigInt(length)]),
    );
  });
});

test('takes no more ranges than it has room for', async (t) => {
  withVector(2, (vector) => {
    t.equal(vector.add(1, 1), true);
    t.equal(vector.add(2, 2), true);
    t.equal(vector.add(3, 3), false);
    t.strictSame(rangesOf(vector), [
      [1, 1],
      [2, 2],
    ]);
    t.equal(vector.bytes, 3);
    vector.clear();
    t.match(vector, { count: 0, bytes: 0 });
    t.equal(vector.add(4, 4), true);
  });
});

test('drops any number of bytes from the front, and nothing else', async (t) => {
  const next = randomNumbers(7);
  for (let round = 0; round < 300; round++) {
    withVector(5, (vector) => {
      const addresses: number[] = [];
      for (let count = next(6); count > 0; count--) {
        const [address, length] = [0x1000 * next(1000), 1 + next(4)];
        vector.add(address, length);
        for (let byte = 0; byte < length; byte++) addresses.push(address + byte);
      }
      while (addresses.length > 0) {
        const drop = next(6);
        vector.dropFront(drop);
        addresses.splice(0, drop);
        const left = rangesOf(vector).flatMap(([at, length]) => Array.from({ length }, (_, byte) => at + byte));
        if (String(left) !== String(addresses)) t.fail(`${left} is left of ${addresses}`);
        if (vector.bytes !== addresses.length) t.fail(`${vector.bytes} bytes are left of ${addresses.length}`);
      }
      if (vector.count !== 0) t.fail('a range of nothing is left');
    });
  }
  t.pass('300 vectors');
});

test('vectors of one mapping do not share their ranges', async (t) => {
  const vectors = new IoVectors(3, 2);
  try {
    for (const [index, vector] of vectors.vectors.entries()) {
      vector.add(index, 1);
      vector.add(index, 2);
    }
    t.strictSame(
      vectors.vectors.map((vector) => rangesOf(vector)),
      [0, 1, 2].map((index) => [
        [index, 1],
        [index, 2],
      ]),
    );
  } finally {
    vectors.close();
  }
});
