import { test } from 'tap';
import { HotRegions, mostKept } from '../../../../src/block/replicated/hot-regions.ts';
import { regionBitmapBytes, regionBytes } from '../../../../src/block/replicated/region-file.ts';

const sizes = [3 * regionBytes, regionBytes - 512];

function marked(hot: HotRegions): number[] {
  return Array.from({ length: 4 }, (_, region) => region).filter((region) => ((hot.bitmap[0] as number) >> region) & 1);
}

/** All regions that changes wait for are marked. */
function mark(hot: HotRegions): void {
  if (hot.beginMarking()) hot.marked();
}

test('a change waits for the marks of all regions that it touches', async (t) => {
  const hot = new HotRegions(sizes, new Uint8Array(1));
  const change = [0, regionBytes - 512, 1024] as const;
  t.equal(hot.take(...change), false);
  t.equal(hot.beginMarking(), true);
  t.strictSame(marked(hot), [0, 1]);
  t.strictSame([...hot.stale], [0]);
  t.equal(hot.isMarked(...change), false, 'the file does not say so yet');
  t.equal(hot.take(1, 0, 512), false);
  t.equal(hot.beginMarking(), false, 'one at a time');
  hot.marked();
  t.equal(hot.isMarked(...change), true);
  t.equal(hot.isMarked(1, 0, 512), false, 'it came too late for that one');
  mark(hot);
  t.strictSame(marked(hot), [0, 1, 3], 'the second disk begins with a region of its own');
  t.equal(hot.take(0, 0, 512), true, 'no other change waits there');
});

test('a file that does not take a mark has not marked anything', async (t) => {
  const hot = new HotRegions(sizes, new Uint8Array(1));
  hot.take(0, 0, 512);
  hot.beginMarking();
  hot.notMarked();
  t.equal(hot.isMarked(0, 0, 512), false);
  t.equal(hot.take(0, 0, 512), false);
  t.equal(hot.beginMarking(), true, 'it is tried again');
});

test('a mark goes when its region was left alone, and all of it is durable on both sides', async (t) => {
  const hot = new HotRegions(sizes, new Uint8Array(1));
  hot.take(0, 0, 512);
  mark(hot);
  t.equal(hot.beginSweep(9), undefined, 'a change is under way');
  hot.done(0, 0, 512, 5);
  t.equal(hot.beginSweep(4), undefined, 'the standby does not have it');
  hot.take(0, 512, 512);
  hot.done(0, 512, 512, 5);
  t.equal(hot.beginSweep(5), undefined, 'it was in use since the last time');
  t.strictSame(hot.beginSweep(5), [0], 'its disk is to be flushed first');
  hot.endSweep(false);
  t.strictSame(marked(hot), [0], 'and was not');
  t.strictSame(hot.beginSweep(5), [0]);
  hot.endSweep(true);
  t.strictSame(marked(hot), []);
  t.equal(hot.count, 0);
  t.equal(hot.take(0, 0, 512), false, 'the next change waits for its mark again');
});

test('a region that changes while its disk is flushed keeps its mark', async (t) => {
  const hot = new HotRegions(sizes, Uint8Array.of(0b11));
  t.strictSame(hot.beginSweep(0), [0], 'who knows what was flushed when the log was made');
  t.equal(hot.take(0, regionBytes, 512), true);
  hot.endSweep(true);
  t.strictSame(marked(hot), [1]);
});

test('for another standby epochs are counted anew', async (t) => {
  const hot = new HotRegions(sizes, Uint8Array.of(1));
  hot.take(0, 0, 512);
  hot.done(0, 0, 512, 1000);
  t.equal(hot.beginSweep(3), undefined);
  hot.beginEpochs();
  t.strictSame(hot.beginSweep(0), [0]);
});

test('where many are marked, regions in use lose theirs too', async (t) => {
  const count = mostKept + 2;
  const hot = new HotRegions([count * regionBytes], new Uint8Array(regionBitmapBytes(count)));
  for (let region = 0; region < count; region++) hot.take(0, region * regionBytes, 512);
  mark(hot);
  for (let region = 0; region < count; region++) hot.done(0, region * regionBytes, 512, 1);
  t.ok(hot.beginSweep(1));
  hot.endSweep(true);
  t.equal(hot.count, 0);
});
