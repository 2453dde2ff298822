import t from 'tap';
import { decodeLz4Block, decodeLz4Legacy, Lz4Error, peekLz4Legacy } from '../../../firmware/lz4-legacy.ts';
import { systemLz4 } from '../../../src/host/system/lz4.ts';
import { joined, lz4Block, lz4Legacy, seeded, textured, u32 } from './synthetic-kernels.ts';

const magic = u32(0x184c_2102);

t.test('unpacks what lz4 -l has packed', async (t) => {
  const packed = Buffer.from(
    '02214c18760000009e636f6c6f2d766d6d200900ff066b65657073206120677565737420616c6976653b203000ff3eff32000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f000100ff7d7074686520656e64',
    'hex',
  );
  const text = 'colo-vmm colo-vmm colo-vmm keeps a guest alive; '.repeat(8);
  const unpacked = joined(
    Buffer.from(text),
    Uint8Array.from({ length: 64 }, (_, index) => index),
    new Uint8Array(400),
    Buffer.from('the end'),
  );
  const target = new Uint8Array(unpacked.length);
  t.equal(decodeLz4Legacy(packed, target), unpacked.length);
  t.same(target, unpacked);
});

t.test('gives back any bytes that were packed', async (t) => {
  for (let seed = 0; seed < 60; seed++) {
    const bytes = textured(seed, 1 + seed * 97);
    const target = new Uint8Array(bytes.length);
    t.equal(decodeLz4Legacy(lz4Legacy(bytes), target), bytes.length);
    t.ok(Buffer.compare(target, bytes) === 0, `seed ${seed}`);
  }
});

t.test('repeats a match of every offset and length across the end of what it copies', async (t) => {
  for (let offset = 1; offset <= 20; offset++) {
    for (const length of [4, 5, 18, 19, 63, 64, 65, 273, 274, 500]) {
      const pattern = seeded(offset).bytes(offset);
      const more = length >= 19 ? [...Array(Math.floor((length - 19) / 255)).fill(255), (length - 19) % 255] : [];
      const literals =
        offset >= 15 ? [0xf0 | Math.min(length - 4, 15), offset - 15] : [(offset << 4) | Math.min(length - 4, 15)];
      const block = Uint8Array.from([...literals, ...pattern, offset, 0, ...more, 0x50, 1, 2, 3, 4, 5]);
      const target = new Uint8Array(offset + length + 5);
      t.equal(decodeLz4Block(block, 0, block.length, target, 0, target.length, false), target.length);
      const expected = Uint8Array.from({ length: offset + length }, (_, index) => pattern[index % offset] ?? 0);
      t.same(target.subarray(0, offset + length), expected, `offset ${offset}, length ${length}`);
    }
  }
});

t.test('unpacks blocks one after another, and frames', async (t) => {
  const [one, two] = [textured(1, 3000), textured(2, 3000)];
  const frames = joined(lz4Legacy(one), lz4Legacy(two));
  const blocks = joined(magic, u32(lz4Block(one).length), lz4Block(one), u32(lz4Block(two).length), lz4Block(two));
  for (const source of [frames, blocks]) {
    const target = new Uint8Array(6000);
    t.equal(decodeLz4Legacy(source, target), 6000);
    t.ok(Buffer.compare(target, joined(one, two)) === 0);
  }
});

t.test('peeks at the first bytes without the rest', async (t) => {
  const bytes = textured(3, 5000);
  const packed = lz4Legacy(bytes);
  for (const length of [0, 1, 7, 64, 100, 4999, 5000]) {
    const head = new Uint8Array(length);
    t.equal(peekLz4Legacy(packed, head), length);
    t.ok(Buffer.compare(head, bytes.subarray(0, length)) === 0, `${length} bytes`);
  }
  t.equal(peekLz4Legacy(packed, new Uint8Array(9000)), 5000, 'no more than there are');
});

t.test('refuses', async (t) => {
  const refuses = (what: string, bytes: readonly number[], room = 100): void => {
    const block = Uint8Array.from(bytes);
    t.throws(() => decodeLz4Legacy(joined(magic, u32(block.length), block), new Uint8Array(room)), Lz4Error, what);
  };
  refuses('a match before the first byte', [0x10, 1, 2, 0, 0x10, 1]);
  refuses('a match of offset zero', [0x10, 1, 0, 0, 0x10, 1]);
  refuses('literals beyond the block', [0x50, 1, 2]);
  refuses('a literal length without end', [0xf0, 255, 255]);
  refuses('a match length without end', [0x1f, 1, 1, 0, 255]);
  refuses('half an offset', [0x10, 1, 1]);
  refuses('a block that ends in a match', [0x10, 1, 1, 0]);
  refuses('literals that the target has no room for', [0x50, 1, 2, 3, 4, 5], 4);
  refuses('a match that the target has no room for', [0x1f, 1, 1, 0, 200, 0x10, 1], 50);
  const target = new Uint8Array(8);
  t.throws(() => decodeLz4Legacy(new Uint8Array(0), target), Lz4Error, 'nothing');
  t.throws(() => decodeLz4Legacy(joined(magic, u32(0)), target), Lz4Error, 'an empty block');
  t.throws(
    () => decodeLz4Legacy(joined(magic, u32(99), Uint8Array.of(0x10, 1)), target),
    Lz4Error,
    'a block cut short',
  );
  t.throws(
    () => decodeLz4Legacy(joined(magic, u32(2), Uint8Array.of(0x10, 1, 9)), target),
    Lz4Error,
    'left-over bytes',
  );
});

t.test('never refers to a byte of the block before', async (t) => {
  const block = Uint8Array.of(0x10, 7);
  const reaching = Uint8Array.of(0x10, 8, 2, 0, 0x10, 9);
  const frame = joined(magic, u32(block.length), block, u32(reaching.length), reaching);
  t.throws(() => decodeLz4Legacy(frame, new Uint8Array(100)), Lz4Error);
});

t.test('damaged frames are refused or unpacked, and nothing outside the target is written', async (t) => {
  const packed = lz4Legacy(textured(4, 900));
  const random = seeded(5);
  const around = new Uint8Array(64 + 900 + 64).fill(0xa5);
  const target = around.subarray(64, 64 + 900);
  for (let round = 0; round < 4000; round++) {
    const damaged = packed.slice(0, random.below(4) === 0 ? random.below(packed.length) : packed.length);
    for (let hit = 0; hit <= random.below(4) && damaged.length > 4; hit++) {
      damaged[4 + random.below(damaged.length - 4)] = random.below(256);
    }
    try {
      decodeLz4Legacy(damaged, target);
    } catch (error) {
      if (!(error instanceof Lz4Error)) t.fail(`round ${round}: ${error}`);
    }
  }
  t.ok(
    around.subarray(0, 64).every((byte) => byte === 0xa5),
    'before',
  );
  t.ok(
    around.subarray(64 + 900).every((byte) => byte === 0xa5),
    'behind',
  );
});

const library = systemLz4();

t.test(
  'the system library gives what the decoder here gives',
  { skip: library ? false : 'no liblz4.so.1: apt-get install liblz4-1' },
  async (t) => {
    const random = seeded(6);
    for (let round = 0; round < 300; round++) {
      const bytes = textured(round, 1 + random.below(5000));
      const packed = lz4Legacy(bytes);
      const target = new Uint8Array(bytes.length);
      t.equal(decodeLz4Legacy(packed, target, library), bytes.length);
      if (Buffer.compare(target, bytes) !== 0) t.fail(`seed ${round}`);
      const head = new Uint8Array(random.below(6000));
      const length = Math.min(head.length, bytes.length);
      t.equal(peekLz4Legacy(packed, head, library), length);
      if (Buffer.compare(head.subarray(0, length), bytes.subarray(0, length)) !== 0) t.fail(`head, seed ${round}`);
    }
    const cut = joined(magic, u32(3), Uint8Array.of(0x10, 1, 1));
    t.throws(() => decodeLz4Legacy(cut, new Uint8Array(50), library), Lz4Error, 'what it refuses is refused by name');
  },
);
