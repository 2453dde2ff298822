import { type Test, test } from 'tap';
import { addressOf } from '../../../src/host/libc/memory.ts';
import { gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { lonePageCopier, type PageCopier, SharedPageCopy } from '../../../src/memory/page-copy.ts';
import { Ram } from '../../../src/memory/ram.ts';
import { StagingArea } from '../../../src/memory/staging-area.ts';
import { until } from '../../support/machines.ts';
import { inThread } from '../../support/thread.ts';

const ramBytes = 4 * MiB;
const ramPages = ramBytes / pageSize;

/** RAM whose every page is filled with its number, and a place to stage pages of it. */
function rig(t: Test) {
  const ram = new Ram(ramBytes);
  t.teardown(() => ram.close());
  const staging = new StagingArea(ramPages);
  t.teardown(() => staging.close());
  const [region] = ram.memory.regions;
  const words = new Uint32Array(ram.shared.bytes, ram.shared.start, ramBytes / 4);
  for (let page = 0; page < ramPages; page++) words.fill(page, (page * pageSize) / 4, ((page + 1) * pageSize) / 4);
  const dirty = [new DirtyBitmap(ramPages)];
  const stage = (pages: Iterable<number>, copier?: PageCopier): number => {
    dirty[0]?.clear();
    for (const page of pages) dirty[0]?.mark(page);
    return staging.copy(ram.memory, dirty, copier);
  };
  return { ram, region, words, staging, stage };
}

/** The first place where what is staged is not what RAM has, or undefined. */
function firstWrong({ staging, ram }: ReturnType<typeof rig>, expected: readonly number[]): number | undefined {
  const place = expected.findIndex((page, place) => {
    const there = ram.memory.slice(gpa(page * pageSize), pageSize);
    return staging.numbers[place] !== page || Buffer.compare(staging.slice(place, 1), there) !== 0;
  });
  return place < 0 ? undefined : place;
}

/** Numbers below `below`, the same ones for each seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Some pages of RAM, in order: single ones and runs. */
function somePages(pick: (below: number) => number): number[] {
  const pages: number[] = [];
  const density = 1 + pick(12);
  for (let page = pick(8); page < ramPages; page += 1 + pick(density)) pages.push(page);
  return pages;
}

/** Copies as SharedPageCopy has it, and waits for those who help. */
function shared(copy: SharedPageCopy): PageCopier {
  return {
    copy: (source, target, numbers, count) => {
      copy.begin(source, target, addressOf(new Uint8Array(numbers.buffer)), count);
      copy.takeParts();
      while (!copy.waitUntilDone(5));
    },
  };
}

test('copies by itself what a plain copy does, whatever the list', async (t) => {
  const rigged = rig(t);
  const copier = shared(new SharedPageCopy());
  const all = Array.from({ length: ramPages }, (_, page) => page);
  const pick = random(1);
  const lists = [[], [0], [ramPages - 1], all, all.slice(0, 31), all.slice(0, 32), all.slice(0, 33)];
  for (let round = 0; round < 20; round++) lists.push(somePages(pick));
  for (const pages of lists) {
    for (const how of [copier, lonePageCopier]) {
      rigged.staging.slice(0, ramPages).fill(0xff);
      t.equal(rigged.stage(pages, how), pages.length);
      t.equal(firstWrong(rigged, pages), undefined);
      if (pages.length < ramPages) t.equal(rigged.staging.slice(pages.length, 1)[0], 0xff, 'and nothing behind');
    }
  }
});

test('a list ends where it is said to, whatever number stands behind it', async (t) => {
  const { staging, ram, region } = rig(t);
  staging.slice(0, 4).fill(0xff);
  const numbers = new Uint32Array(new SharedArrayBuffer(16));
  numbers.set([5, 6, 7, 8]);
  lonePageCopier.copy(region?.address ?? 0, addressOf(staging.slice(0, 4)), numbers, 2);
  t.strictSame(Buffer.from(staging.slice(0, 2)), Buffer.from(ram.memory.slice(gpa(5 * pageSize), 2 * pageSize)));
  t.equal(staging.slice(2, 1)[0], 0xff);
});

test('threads that help whenever they can leave what a plain copy does, copy after copy', {
  timeout: 60_000,
}, async (t) => {
  const rigged = rig(t);
  const copy = new SharedPageCopy();
  const copier = shared(copy);
  // running helpers, parts they took, whether they are to end
  const cells = new Int32Array(new SharedArrayBuffer(12));
  const module = new URL('./copy-helper.ts', import.meta.url);
  const helpers = [1, 2].map(() => inThread(module, 'helpAlways', copy.storage, cells));
  await until(() => Atomics.load(cells, 0) === 2);
  const pick = random(7);
  let wrong: unknown;
  // On a busy machine it may take a while until one has the time.
  for (let round = 0; wrong === undefined && (round < 150 || Atomics.load(cells, 1) === 0); round++) {
    const pages = somePages(pick);
    // Other contents each time, so that nothing passes that was copied for an earlier list.
    for (const page of pages) rigged.words.fill(page + round, (page * pageSize) / 4, ((page + 1) * pageSize) / 4);
    rigged.stage(pages, copier);
    const found = firstWrong(rigged, pages);
    if (found !== undefined) wrong = { round, found };
  }
  Atomics.store(cells, 2, 1);
  await Promise.all(helpers);
  t.equal(wrong, undefined);
});

test('a copy that fails leaves nothing staged', async (t) => {
  const { staging, stage } = rig(t);
  stage([1, 2, 3]);
  const failing: PageCopier = {
    copy: () => {
      throw new Error('no');
    },
  };
  t.throws(() => stage([4], failing), { message: 'no' });
  t.equal(staging.count, 0);
});

test('waits for parts that others have begun, and no longer than it is told', async (t) => {
  const rigged = rig(t);
  const copy = new SharedPageCopy();
  const numbers = rigged.staging.numbers;
  for (let place = 0; place < 64; place++) numbers[place] = place;
  const ticket = new Int32Array(copy.storage, 0, 1);
  copy.begin(rigged.region?.address ?? 0, rigged.region?.address ?? 0, addressOf(new Uint8Array(numbers.buffer)), 64);
  Atomics.add(ticket, 0, 1); // as a thread that dies with it
  copy.takeParts();
  t.equal(copy.waitUntilDone(1), false);
  copy.begin(rigged.region?.address ?? 0, rigged.region?.address ?? 0, addressOf(new Uint8Array(numbers.buffer)), 64);
  copy.takeParts();
  t.equal(copy.waitUntilDone(1), true, 'the next one is not spoiled by that');
});

test('a copy of very many pages has longer parts, and no more of them', async (t) => {
  const rigged = rig(t);
  const copy = new SharedPageCopy(undefined, 3);
  const all = Array.from({ length: ramPages }, (_, page) => page);
  const pick = random(3);
  for (const pages of [all, all.slice(0, 97), somePages(pick), somePages(pick)]) {
    let parts = 0;
    const copier: PageCopier = {
      copy: (source, target, numbers, count) => {
        copy.begin(source, target, addressOf(new Uint8Array(numbers.buffer)), count);
        parts = copy.takeParts();
      },
    };
    rigged.stage(pages, copier);
    t.equal(parts, Math.min(3, Math.ceil(pages.length / 32)));
    t.equal(firstWrong(rigged, pages), undefined);
  }
});
