import { test } from 'tap';
import { pageSize } from '../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { randomNumbers } from '../../support/random.ts';

function pagesOf(bitmap: DirtyBitmap): number[] {
  const pages: number[] = [];
  bitmap.forEach((page) => {
    pages.push(page);
  });
  return pages;
}

const ascending = (a: number, b: number): number => a - b;

for (const seed of [1, 2, 3, 4, 5]) {
  test(`holds what a set of page numbers would, through random operations (seed ${seed})`, async (t) => {
    const random = randomNumbers(seed);
    const pages = 1 + random(500);
    const bitmap = new DirtyBitmap(pages);
    const other = new DirtyBitmap(pages);
    const model = new Set<number>();
    const otherModel = new Set<number>();
    const mark = (target: DirtyBitmap, set: Set<number>): void => {
      const offset = random(pages * pageSize);
      const length = random(Math.min(5 * pageSize, pages * pageSize - offset + 1));
      target.markBytes(offset, length);
      for (let byte = offset; byte < offset + length; byte++) set.add(Math.floor(byte / pageSize));
    };
    for (let step = 0; step < 200; step++) {
      switch (random(6)) {
        case 0:
          mark(other, otherModel);
          break;
        case 1:
          other.drainInto(bitmap);
          for (const page of otherModel) model.add(page);
          otherModel.clear();
          break;
        case 2: {
          const others = new DirtyBitmap(pages);
          for (let count = random(10); count > 0; count--) {
            const page = random(pages);
            others.mark(page);
            model.add(page);
          }
          bitmap.unite(others);
          break;
        }
        case 3:
          if (random(10) === 0) {
            bitmap.clear();
            model.clear();
          }
          break;
        default:
          mark(bitmap, model);
      }
      const expected = [...model].sort(ascending);
      if (JSON.stringify(pagesOf(bitmap)) !== JSON.stringify(expected)) {
        t.strictSame(pagesOf(bitmap), expected, `step ${step}`);
        return;
      }
    }
    t.strictSame(pagesOf(bitmap), [...model].sort(ascending));
    t.strictSame(pagesOf(other), [...otherModel].sort(ascending));
    t.equal(bitmap.count, model.size);
    t.ok([...Array(pages).keys()].every((page) => bitmap.has(page) === model.has(page)));
  });
}

test('marks the page of the first and of the last byte, and none for no bytes', async (t) => {
  const bitmap = new DirtyBitmap(64);
  bitmap.markBytes(5 * pageSize, 0);
  t.equal(bitmap.count, 0);
  bitmap.markBytes(2 * pageSize - 1, 2);
  t.strictSame(pagesOf(bitmap), [1, 2]);
});

test('keeps page 31 of a word, whose bit is the sign', async (t) => {
  const bitmap = new DirtyBitmap(64);
  bitmap.markBytes(31 * pageSize, 1);
  bitmap.markBytes(63 * pageSize, 1);
  t.strictSame(pagesOf(bitmap), [31, 63]);
  t.equal(bitmap.count, 2);
  t.equal(bitmap.has(31), true);
  t.equal(bitmap.has(30), false);
});

test('is one bitmap in all threads that share its storage', async (t) => {
  const bitmap = new DirtyBitmap(100);
  const joined = new DirtyBitmap(100, bitmap.storage);
  joined.markBytes(99 * pageSize, 1);
  t.strictSame(pagesOf(bitmap), [99]);
  t.throws(() => new DirtyBitmap(200, bitmap.storage), { message: /200 pages takes 32 bytes, not 16/ });
});

test('is padded to 64 bits, as KVM writes it', async (t) => {
  t.equal(new DirtyBitmap(1).words.byteLength, 8);
  t.equal(new DirtyBitmap(64).words.byteLength, 8);
  t.equal(new DirtyBitmap(65).words.byteLength, 16);
});

for (const seed of [1, 2, 3]) {
  test(`finds runs of marked and of clean pages from anywhere on (seed ${seed})`, async (t) => {
    const random = randomNumbers(seed);
    for (const pages of [1, 31, 32, 33, 64, 65, 1000, 1024]) {
      const bitmap = new DirtyBitmap(pages);
      const model: boolean[] = Array.from({ length: pages }, () => false);
      for (let runs = random(8); runs > 0; runs--) {
        const first = random(pages);
        const end = Math.min(pages, first + 1 + random(100));
        bitmap.markBytes(first * pageSize, (end - first) * pageSize);
        model.fill(true, first, end);
      }
      const find = (value: boolean, from: number): number => {
        const found = model.indexOf(value, from);
        return found < 0 ? pages : found;
      };
      for (let from = 0; from < pages; from++) {
        t.equal(bitmap.nextMarked(from), find(true, from), `marked from ${from} of ${pages}`);
        t.equal(bitmap.nextClean(from), find(false, from), `clean from ${from} of ${pages}`);
      }
      t.equal(bitmap.nextMarked(pages), pages);
    }
  });
}

test('an atomic operation marks also what is marked: a plain look could come before the write that it tells of', async (t) => {
  const { or } = Atomics;
  t.teardown(() => {
    Atomics.or = or;
  });
  let operations = 0;
  Atomics.or = ((array: Int32Array, index: number, value: number) => {
    operations++;
    return or(array, index, value);
  }) as typeof or;
  const bitmap = new DirtyBitmap(100);
  for (let times = 1; times <= 3; times++) {
    bitmap.mark(7);
    t.equal(operations, times);
  }
  t.strictSame(pagesOf(bitmap), [7]);
});

test('takes the mark of one page, and of no other', async (t) => {
  const bitmap = new DirtyBitmap(70);
  bitmap.markAll();
  for (const page of [0, 31, 32, 69]) bitmap.unmark(page);
  t.equal(bitmap.count, 66);
  t.strictSame(
    [0, 1, 30, 31, 32, 33, 68, 69].map((page) => bitmap.has(page)),
    [false, true, true, false, false, true, true, false],
  );
  bitmap.unmark(31);
  t.equal(bitmap.has(31), false, 'one that is not marked stays so');
});

test('marks all pages that there are, and finds none behind them', async (t) => {
  for (const pages of [1, 31, 32, 64, 70]) {
    const bitmap = new DirtyBitmap(pages);
    bitmap.markAll();
    t.equal(bitmap.count, pages);
    t.equal(bitmap.nextMarked(pages - 1), pages - 1);
    t.equal(bitmap.nextMarked(pages), pages);
    t.equal(bitmap.nextMarked(pages + 1), pages);
    t.equal(bitmap.nextClean(0), pages);
  }
});
