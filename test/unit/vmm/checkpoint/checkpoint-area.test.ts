import { type Test, test } from 'tap';
import { gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../../src/memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../../../src/memory/dirty-collector.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { CheckpointArea } from '../../../../src/vmm/checkpoint/checkpoint.ts';

/** RAM, a tracker of what is written through it, and an area. */
function rig(t: Test) {
  const ram = new Ram(2 * MiB);
  t.teardown(() => ram.close());
  const { memory } = ram;
  memory.tracking = true;
  const tracker: DirtyTracker = {
    emptyBitmaps: () => memory.regions.map(({ sizeBytes }) => new DirtyBitmap(sizeBytes / pageSize)),
    collect: (dirty = tracker.emptyBitmaps()) => {
      for (const [index, region] of memory.regions.entries()) region.written.drainInto(dirty[index] as DirtyBitmap);
      return dirty;
    },
    collectOften: (dirty) => {
      tracker.collect(dirty);
    },
    close: () => {},
  };
  const area = new CheckpointArea(memory, tracker, 0);
  t.teardown(() => area.close());
  const write = (page: number): void => memory.writeU8(gpa(page * pageSize), 1);
  const checkpoint = (): number[] => {
    area.clear();
    area.collect();
    area.copy();
    return [...area.staging.numbers.subarray(0, area.staging.count)];
  };
  return { area, write, checkpoint };
}

test('what is marked live and not read belongs to the next checkpoint, once', async (t) => {
  const { area, write, checkpoint } = rig(t);
  for (const page of [3, 4, 90]) write(page);
  t.equal(area.collectLive(), 3);
  area.live[0]?.unmark(4);
  write(5);
  t.strictSame(checkpoint(), [3, 5, 90], 'page 4 was read');
  t.strictSame(checkpoint(), []);
});

test('a page that was read live and is written again is in the next look, or the next checkpoint', async (t) => {
  const { area, write, checkpoint } = rig(t);
  write(7);
  area.collectLive();
  area.live[0]?.unmark(7);
  write(7);
  t.equal(area.collectLive(), 1);
  area.live[0]?.unmark(7);
  t.strictSame(checkpoint(), []);
  write(7);
  t.strictSame(checkpoint(), [7]);
});

test('all of RAM is marked, and nothing behind it', async (t) => {
  const { area, checkpoint } = rig(t);
  area.markAllLive();
  t.equal(area.collectLive(), 512);
  for (let page = 0; page < 512; page++) if (page !== 511) area.live[0]?.unmark(page);
  t.strictSame(checkpoint(), [511]);
});
