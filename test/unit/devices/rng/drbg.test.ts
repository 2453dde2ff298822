import { createCipheriv } from 'node:crypto';
import { type Test, test } from 'tap';
import { Drbg } from '../../../../src/devices/rng/drbg.ts';
import { viewMemory } from '../../../../src/host/libc/memory.ts';
import { AnonymousMapping } from '../../../../src/host/mappings/mapping.ts';

const seedOf = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

function rig(t: Test, seed: Uint8Array) {
  const memory = new AnonymousMapping('test', 65_536);
  const bytes = new Uint8Array(viewMemory(memory.address, memory.sizeBytes));
  const random = new Drbg();
  random.reseed(seed);
  t.teardown(() => {
    random.close();
    memory.close();
  });
  const take = (length: number, offset = 0): string => {
    bytes.fill(0);
    if (random.fill(memory.address + offset, length) !== length) throw new Error('filled less');
    if (bytes.subarray(0, offset).some((byte) => byte !== 0)) throw new Error('wrote before its range');
    if (bytes.subarray(offset + length).some((byte) => byte !== 0)) throw new Error('wrote behind its range');
    return Buffer.from(bytes.subarray(offset, offset + length)).toString('hex');
  };
  return { random, take };
}

test('is AES-256-CTR whose first bytes are the key of what comes next', async (t) => {
  const { take } = rig(t, seedOf(5));
  let key = Buffer.from(seedOf(5));
  const blocks = Array.from({ length: 3 }, () => {
    const stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(4096));
    key = stream.subarray(0, 32);
    return stream.subarray(32);
  });
  const expected = Buffer.concat(blocks).toString('hex');
  t.equal(take(10_000, 3), expected.slice(0, 20_000));
});

test('gives one stream for a seed, however requests divide it, and another for another seed', async (t) => {
  const [whole, pieces, other] = [rig(t, seedOf(1)), rig(t, seedOf(1)), rig(t, seedOf(2))];
  const lengths = [1, 7, 0, 4063, 1, 4064, 4065, 20_000, 31, 64];
  const stream = whole.take(lengths.reduce((sum, length) => sum + length));
  t.equal(lengths.map((length) => pieces.take(length, 5)).join(''), stream);
  t.not(other.take(64), stream.slice(0, 128));
  t.equal(new Set(stream.match(/.{32}/g)).size, Math.floor(stream.length / 32), 'no 16 bytes come twice');
});

test('a seed makes it forget all that it was, and is not kept', async (t) => {
  const [fresh, used] = [rig(t, seedOf(1)), rig(t, seedOf(9))];
  used.take(5000);
  const seed = seedOf(1);
  used.random.reseed(seed);
  seed.fill(0);
  const bytes = fresh.take(9000);
  t.equal(used.take(9000), bytes);
  used.random.reseed(seedOf(1));
  t.equal(used.take(9000), bytes, 'the same one gives the same bytes again');
});
