import { test } from 'tap';
import { type BackupBlock, backupBlockBytes, PointInTime } from '../../../../../src/colo/disk/backup/point-in-time.ts';
import { randomNumbers } from '../../../../support/random.ts';

const block = backupBlockBytes;

test('every block of every disk is copied once, the last one as far as the disk goes', async (t) => {
  const point = new PointInTime([2 * block + 512, 0, block]);
  const blocks: BackupBlock[] = [];
  for (let next = point.next(); next !== undefined; next = point.next()) blocks.push(next);
  t.strictSame(blocks, [
    { disk: 0, offset: 0, lengthBytes: block },
    { disk: 0, offset: block, lengthBytes: block },
    { disk: 0, offset: 2 * block, lengthBytes: 512 },
    { disk: 2, offset: 0, lengthBytes: block },
  ]);
  t.equal(point.copiedBytes, 0, 'they are taken, not copied');
  for (const each of blocks) point.copied(each);
  t.equal(point.copiedBytes, point.totalBytes);
  t.equal(point.totalBytes, 3 * block + 512);
});

test('a change waits until all that it replaces is copied, and that is copied first', async (t) => {
  const point = new PointInTime([8 * block]);
  let gone = 0;
  t.equal(
    point.holdsBack(0, 5 * block - 512, 1024, 7, () => gone++),
    true,
  );
  t.equal(point.waitsSince, 7);
  const [one, two] = [point.next(), point.next()] as [BackupBlock, BackupBlock];
  t.strictSame([one.offset, two.offset], [4 * block, 5 * block]);
  t.equal(point.next()?.offset, 0, 'what nobody waits for comes in order');
  point.copied(two);
  t.equal(gone, 0);
  point.copied(one);
  t.equal(gone, 1);
  t.equal(point.waitsSince, undefined);
  t.equal(
    point.holdsBack(0, 4 * block, 2 * block, 8, () => gone++),
    false,
    'it is copied',
  );
});

test('once it is over nobody waits, and nothing is copied', async (t) => {
  const point = new PointInTime([4 * block]);
  let gone = 0;
  for (const at of [0, 1]) point.holdsBack(0, at * block, 512, at, () => gone++);
  t.equal(point.waitsSince, 0, 'the one that has waited longest counts');
  point.end();
  t.equal(gone, 2);
  t.equal(point.next(), undefined);
  t.equal(
    point.holdsBack(0, 2 * block, 512, 9, () => gone++),
    false,
  );
});

test('whatever is changed and copied in whatever order, the copy is of the first moment', async (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomNumbers(seed);
    const sizes = [1 + random(12), 1 + random(12)];
    // What stands in each block: 0 at first, then the number of the last change.
    const disks = sizes.map((count) => new Array<number>(count).fill(0));
    const copy = sizes.map((count) => new Array<number>(count).fill(-1));
    const point = new PointInTime(sizes.map((count) => count * block));
    const taken: BackupBlock[] = [];
    let waiting = 0;
    for (let change = 1; copy.some((blocks) => blocks.includes(-1)); change++) {
      if (random(3) === 0) {
        const disk = random(2);
        const content = disks[disk] as number[];
        const first = random(content.length);
        const count = 1 + random(content.length - first);
        const lay = (): void => void content.fill(change, first, first + count);
        const go = (): void => {
          waiting--;
          lay();
        };
        waiting++;
        if (!point.holdsBack(disk, first * block, count * block, change, go)) go();
      } else if (random(2) === 0) {
        const next = point.next();
        if (next !== undefined) taken.push(next);
      } else {
        const [done] = taken.splice(random(Math.max(1, taken.length)), 1);
        if (done === undefined) continue;
        const at = done.offset / block;
        (copy[done.disk] as number[])[at] = (disks[done.disk] as number[])[at] as number;
        point.copied(done);
      }
    }
    if (!copy.flat().every((content) => content === 0)) t.fail(`seed ${seed}: the copy has what came later`);
    if (waiting !== 0) t.fail(`seed ${seed}: ${waiting} changes wait for ever`);
  }
  t.pass('200 seeds');
});
