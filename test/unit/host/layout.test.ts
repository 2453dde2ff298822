import { test } from 'tap';
import { array, at, bytes, fromPlain, s32, s64, struct, toPlain, u8, u16, u32, u64 } from '../../../src/host/layout.ts';

test('aligns fields as C does, and pads the end', async (t) => {
  const layout = struct('s', { a: u8, b: u32, c: u8, d: u16, e: u64, f: u8 });
  t.strictSame(layout.offsets, { a: 0, b: 4, c: 8, d: 10, e: 16, f: 24 });
  t.equal(layout.size, 32);
  t.equal(layout.align, 8);
});

test('reads and writes little-endian, signed and unsigned', async (t) => {
  const layout = struct('s', { a: u16, b: u32, c: s32, d: u64, e: s64 });
  const view = layout.allocate();
  view.a = 0x1234;
  view.b = 0xdead_beef;
  view.c = -2;
  view.d = 0xffff_ffff_ffff_fffen;
  view.e = -3n;
  t.strictSame([view.a, view.b, view.c, view.d, view.e], [0x1234, 0xdead_beef, -2, 0xffff_ffff_ffff_fffen, -3n]);
  t.strictSame([...view.$bytes.subarray(0, 8)], [0x34, 0x12, 0, 0, 0xef, 0xbe, 0xad, 0xde]);
});

test('nests structs as views in place', async (t) => {
  const inner = struct('inner', { x: u8, y: u32 });
  const outer = struct('outer', { head: u8, inner });
  t.strictSame(outer.offsets, { head: 0, inner: 4 });
  t.equal(outer.size, 12);
  const view = outer.allocate();
  view.inner.y = 5;
  t.equal(view.inner.y, 5);
  t.equal(view.$bytes[8], 5);
  const other = inner.allocate();
  other.x = 9;
  view.inner = other;
  t.equal(view.inner.x, 9);
});

test('copies arrays of scalars, and refuses another length', async (t) => {
  const layout = struct('s', { a: u8, words: array(u16, 3) });
  const view = layout.allocate();
  view.words = [1, 2, 0xffff];
  t.strictSame(view.words, [1, 2, 0xffff]);
  view.words[0] = 77;
  t.equal(view.words[0], 1, 'what was read is a copy');
  t.throws(() => {
    view.words = [1, 2];
  }, RangeError);
});

test('gives raw bytes in place, and refuses another length', async (t) => {
  const layout = struct('s', { a: u8, raw: bytes(4) });
  const view = layout.allocate();
  view.raw[1] = 8;
  t.strictSame([...view.raw], [0, 8, 0, 0]);
  view.raw = Uint8Array.of(1, 2, 3, 4);
  t.strictSame([...view.$bytes], [0, 1, 2, 3, 4]);
  t.throws(() => {
    view.raw = new Uint8Array(5);
  }, RangeError);
});

test('lays unions over each other, and goes on behind the member named last', async (t) => {
  const layout = struct('s', { kind: u32, small: at(8, u8), large: at(8, u64), next: u8 }, 24);
  t.strictSame(layout.offsets, { kind: 0, small: 8, large: 8, next: 16 });
  t.equal(layout.size, 24);
  const view = layout.allocate();
  view.large = 0x1ffn;
  t.equal(view.small, 0xff);
});

test('is at least as large as its farthest field, wherever that is named', async (t) => {
  t.equal(struct('s', { far: at(40, u32), near: at(0, u8) }).size, 44);
});

test('views the middle of a larger buffer, which it does not copy', async (t) => {
  const layout = struct('s', { a: u32 });
  const buffer = new Uint8Array(16);
  const view = layout.over(buffer.subarray(4), 4);
  view.a = 1;
  t.equal(buffer[8], 1);
  t.equal(view.$bytes.length, 8, 'what follows the struct can be reached');
  t.throws(() => layout.over(buffer, 13), RangeError);
});

test('allocates room behind the struct for what has no fixed length', async (t) => {
  t.equal(struct('s', { n: u32 }).allocate(12).$bytes.length, 16);
});

const pair = struct('pair', { x: u8, y: u32 });
const nested = struct('nested', {
  head: u16,
  pairs: array(pair, 2),
  grid: array(array(u8, 2), 2),
  raw: bytes(3),
  low: s32,
  high: at(48, u64),
});

test('goes to plain data and back, structs in arrays in structs', async (t) => {
  const plain = {
    head: 7,
    pairs: [
      { x: 1, y: 0xffff_ffff },
      { x: 2, y: 3 },
    ],
    grid: [
      [1, 2],
      [3, 4],
    ],
    raw: Uint8Array.of(5, 6, 7),
    low: -8,
    high: 1n << 63n,
  };
  const view = fromPlain(nested, plain);
  t.equal(view.pairs[1]?.y, 3);
  t.equal(view.low, -8);
  t.strictSame(toPlain(nested, view), plain);
  t.strictSame(toPlain(nested, nested.over(Uint8Array.of(0, 0, 0, ...view.$bytes), 3)), plain, 'wherever it lies');
});

test('plain data keeps nothing of where it came from', async (t) => {
  const view = nested.allocate();
  const plain = toPlain(nested, view);
  view.$bytes.fill(0xff);
  t.strictSame(plain.raw, new Uint8Array(3));
  t.strictSame(plain.pairs[0], { x: 0, y: 0 });
});

test('refuses plain data with too few or too many elements', async (t) => {
  const plain = toPlain(nested, nested.allocate());
  t.throws(() => fromPlain(nested, { ...plain, pairs: [] }), RangeError);
  t.throws(() => fromPlain(nested, { ...plain, raw: new Uint8Array(4) }), RangeError);
});
