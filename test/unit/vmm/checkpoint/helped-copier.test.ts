import { type Test, test } from 'tap';
import { gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../../src/memory/dirty-bitmap.ts';
import { SharedPageCopy } from '../../../../src/memory/page-copy.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { StagingArea } from '../../../../src/memory/staging-area.ts';
import { type CopyHelper, HelpedCopier } from '../../../../src/vmm/checkpoint/helped-copier.ts';

const ramPages = (8 * MiB) / pageSize;
const limitMs = 50;

/** Every second page of RAM is copied with a helper; `stage` tells whether what is staged is what RAM has. */
function copyWith(
  t: Test,
  helper: (copy: SharedPageCopy) => Partial<CopyHelper>,
  { pages = ramPages, patienceMs = limitMs } = {},
) {
  const ram = new Ram(ramPages * pageSize);
  t.teardown(() => ram.close());
  const staging = new StagingArea(ramPages);
  t.teardown(() => staging.close());
  const dirty = new DirtyBitmap(ramPages);
  for (let page = 0; page < pages; page += 2) {
    ram.memory.writeU32(gpa(page * pageSize), page + 1);
    ram.memory.writeU32(gpa((page + 1) * pageSize - 4), page + 1);
    dirty.mark(page);
  }
  const copy = new SharedPageCopy();
  const plain: CopyHelper = { name: 'vcpu-7', serve: () => true, hasEnded: false };
  // Getters stay getters.
  const helping: CopyHelper = Object.defineProperties(plain, Object.getOwnPropertyDescriptors(helper(copy)));
  const copier = new HelpedCopier(copy, helping, patienceMs);
  const stage = (): boolean => {
    staging.slice(0, ramPages).fill(0xff);
    staging.copy(ram.memory, [dirty], copier);
    return Array.from({ length: pages / 2 }, (_, place) => place).every(
      (place) => Buffer.compare(staging.slice(place, 1), ram.memory.slice(gpa(2 * place * pageSize), pageSize)) === 0,
    );
  };
  return { stage, staging };
}

/** Takes the next part, as a thread that then does nothing with it. */
function takePart({ storage }: SharedPageCopy): void {
  Atomics.add(new Int32Array(storage), 0, 1);
}

test('copies all, be the helper absent or not come to it in time', async (t) => {
  for (const comes of [false, true]) {
    const { stage, staging } = copyWith(t, () => ({ serve: () => comes }));
    t.equal(stage(), true);
    t.equal(staging.count, ramPages / 2);
  }
});

test('copies nothing twice that a helper did', async (t) => {
  let helped = 0;
  const { stage } = copyWith(t, (copy) => ({
    serve: () => {
      helped += copy.takeParts();
      return true;
    },
  }));
  t.equal(stage(), true);
  t.equal(helped, ramPages / 2 / 32, 'all of it');
  t.equal(stage(), true);
});

test('asks no helper for few pages', async (t) => {
  let asked = 0;
  const serve = (): boolean => {
    asked++;
    return true;
  };
  t.equal(copyWith(t, () => ({ serve }), { pages: 1022 }).stage(), true);
  t.equal(asked, 0);
  t.equal(copyWith(t, () => ({ serve }), { pages: 1024 }).stage(), true);
  t.equal(asked, 1);
});

test('a helper that dies in the middle of a part ends the copy with its name, and the wait', async (t) => {
  const { stage, staging } = copyWith(t, (copy) => ({
    hasEnded: true,
    serve: () => {
      takePart(copy);
      return true;
    },
  }));
  t.throws(stage, { message: 'vcpu-7 has ended in the middle of a copy of pages' });
  t.equal(staging.count, 0, 'nothing is staged');
});

test('a helper that hangs in the middle of a part does so too', async (t) => {
  let hangs = true;
  const { stage } = copyWith(t, (copy) => ({
    serve: () => {
      if (hangs) takePart(copy);
      return true;
    },
  }));
  t.throws(stage, { message: `vcpu-7 did not copy its pages within ${limitMs} ms` });
  hangs = false;
  t.equal(stage(), true);
});

test('what a helper has begun is waited for until it says that it is done', async (t) => {
  const doneCell = 2;
  let looks = 0;
  const helper = (copy: SharedPageCopy): Partial<CopyHelper> => ({
    // The first part is taken here, and said to be done at the third look at the helper.
    serve: () => {
      takePart(copy);
      return true;
    },
    get hasEnded() {
      if (++looks === 3) Atomics.add(new Int32Array(copy.storage), doneCell, 1);
      return false;
    },
  });
  t.equal(copyWith(t, helper, { patienceMs: 60_000 }).stage(), false, 'it said so without having copied');
  t.equal(looks, 3);
});
