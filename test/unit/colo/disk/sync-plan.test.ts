import { test } from 'tap';
import { Difference } from '../../../../src/colo/disk/history/difference.ts';
import { type DiskRange, SyncPlan } from '../../../../src/colo/disk/sync-plan.ts';
import { comparedBlockBytes, mostComparedBytes } from '../../../../src/colo/protocol/messages.ts';

const block = 4096;

function all(plan: SyncPlan): DiskRange[] {
  const ranges = [];
  for (let range = plan.next(); range !== undefined; range = plan.next()) ranges.push(range);
  return ranges;
}

test('where all may differ, every byte of every disk is covered once, and it is told how far that is', async (t) => {
  const sizes = [2 * mostComparedBytes + 512, mostComparedBytes, 4096];
  const difference = new Difference(sizes);
  difference.addAll();
  const totalBytes = difference.unsettledBytes;
  t.equal(totalBytes, 3 * mostComparedBytes + block + block, 'blocks that are begun count');
  const plan = new SyncPlan(difference, 1000);
  const covered = sizes.map(() => 0);
  const ranges = all(plan);
  for (const range of ranges) {
    t.equal(range.offset, covered[range.disk], 'in order');
    covered[range.disk] = (covered[range.disk] as number) + range.lengthBytes;
  }
  t.strictSame(covered, sizes);
  t.match(plan.progress(1000), { comparedBytes: 0, sentBytes: 0 });
  t.equal(plan.progress(2000).secondsLeft, undefined, 'nothing is known yet');
  const [first] = ranges;
  if (first !== undefined) plan.settled(first);
  plan.sent(block);
  t.same(plan.progress(2000), {
    totalBytes,
    comparedBytes: mostComparedBytes,
    sentBytes: block,
    secondsLeft: (totalBytes - mostComparedBytes) / mostComparedBytes,
  });
});

test('where little may differ, nobody is asked; and the rest of the disk is left alone', async (t) => {
  const difference = new Difference([64 * mostComparedBytes]);
  t.strictSame(all(new SyncPlan(difference, 0)), [], 'nothing may differ');
  difference.wrote(0, 5 * comparedBlockBytes + 512, 512);
  difference.wrote(0, 9 * mostComparedBytes, 5 * block);
  difference.begin();
  t.strictSame(all(new SyncPlan(difference, 0)), [
    { disk: 0, offset: 5 * comparedBlockBytes, lengthBytes: comparedBlockBytes, compares: false },
    { disk: 0, offset: 9 * mostComparedBytes, lengthBytes: comparedBlockBytes, compares: true },
  ]);
});
