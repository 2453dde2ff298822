import { test } from 'tap';
import { SeededRandom } from '../../../../src/devices/rng/seeded-random.ts';
import { viewMemory } from '../../../../src/host/libc/memory.ts';
import { AnonymousMapping } from '../../../../src/host/mappings/mapping.ts';

function rig(t: { teardown(clean: () => unknown): unknown }, seed: number) {
  const memory = new AnonymousMapping('test', 65_536);
  const random = new SeededRandom(seed);
  t.teardown(() => {
    random.close();
    memory.close();
  });
  const take = (length: number, offset = 0): string => {
    const bytes = new Uint8Array(viewMemory(memory.address, memory.sizeBytes));
    bytes.fill(0);
    if (random.fill(memory.address + offset, length) !== length) throw new Error('filled less');
    if (bytes.subarray(0, offset).some((byte) => byte !== 0)) throw new Error('wrote before its range');
    if (bytes.subarray(offset + length).some((byte) => byte !== 0)) throw new Error('wrote behind its range');
    return Buffer.from(bytes.subarray(offset, offset + length)).toString('hex');
  };
  return { random, take };
}

test('is xoshiro128**', async (t) => {
  const { random, take } = rig(t, 1);
  // What the authors' C program gives from this state.
  random.load({ version: 1, words: [1, 2, 3, 4] });
  const words = new Uint32Array(new Uint8Array(Buffer.from(take(24), 'hex')).buffer);
  t.strictSame([...words], [11_520, 0, 5_927_040, 70_819_200, 2_031_721_883, 1_637_235_492]);
});

test('gives the same bytes for the same seed, and others for another', async (t) => {
  const [first, same, other] = [rig(t, 42), rig(t, 42), rig(t, 43)];
  for (const length of [1, 7, 4096, 4097, 20_000]) {
    const bytes = first.take(length, 3);
    t.equal(same.take(length, 3), bytes, `${length} bytes`);
    if (length > 1) t.not(other.take(length, 3), bytes);
  }
});

test('goes on from a saved state', async (t) => {
  const [first, second] = [rig(t, 7), rig(t, 8)];
  first.take(1000);
  second.random.load(first.random.save());
  t.equal(second.take(5000), first.take(5000));
});

test('refuses a state that none can be in, and keeps its own', async (t) => {
  const { random } = rig(t, 7);
  const before = random.save();
  const bad = [
    { version: 2, words: [1, 2, 3, 4] },
    { version: 1, words: [0, 0, 0, 0] },
    { version: 1, words: [1, 2, 3] },
    { version: 1, words: [1, 2, 3, -1] },
    { version: 1, words: [1, 2, 3, 0x1_0000_0000] },
    { version: 1, words: [1, 2, 3, 0.5] },
    { version: 1 },
  ];
  for (const state of bad) t.throws(() => random.load(state as never), { code: 'SEEDED_RANDOM_STATE' });
  t.strictSame(random.save(), before);
});
