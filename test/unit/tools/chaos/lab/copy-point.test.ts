import t from 'tap';
import type { ColoStatus } from '../../../../../src/vmm/monitor/colo-control.ts';
import { copyBegins, copyPointInWords, isCopiedTo } from '../../../../../tools/chaos/lab/copy-point.ts';
import { troubleInWords } from '../../../../../tools/chaos/lab/life.ts';
import { labTroubles } from '../../../../../tools/chaos/lab/troubles.ts';
import { protectedStatus } from '../../../../support/fake-colo.ts';

const at = (comparedPercent: number) => ({ comparedPercent, thenMs: 1234 });

/** A primary in that phase. */
const primary = (phase: string, disk: Partial<ColoStatus['disk']> = {}): ColoStatus => ({
  ...protectedStatus,
  phase,
  disk: { logBytes: 0, ...disk },
});

const compared = (comparedBytes: number): ColoStatus =>
  primary('synchronising', { synchronising: { totalBytes: 1000, comparedBytes, sentBytes: 0 } });

t.test('no copy is begun before a primary says so', async (t) => {
  t.notOk(isCopiedTo(copyBegins, undefined));
  t.notOk(isCopiedTo(copyBegins, primary('greeting')));
  t.ok(isCopiedTo(copyBegins, primary('synchronising')), 'also before disks are begun with');
  t.notOk(isCopiedTo(copyBegins, primary('protected')), 'which copies no more');
});

t.test('disks are compared up to a part of them, or further', async (t) => {
  t.notOk(isCopiedTo(at(40), primary('synchronising')));
  t.notOk(isCopiedTo(at(40), compared(399)));
  t.ok(isCopiedTo(at(40), compared(400)));
  t.ok(isCopiedTo(at(40), compared(990)));
  t.notOk(isCopiedTo(at(100), compared(990)));
});

t.test('what comes after disks are equal is further than any part of them', async (t) => {
  const synchronised = { totalBytes: 1000, comparedBytes: 1000, sentBytes: 0, seconds: 1 };
  t.ok(isCopiedTo(at(100), primary('synchronising', { synchronised })), 'RAM is copied');
  t.ok(isCopiedTo(at(100), primary('seeding')));
});

t.test('a trouble says when it came, and how long it lasted if it passes', async (t) => {
  t.equal(copyPointInWords(at(60)), '1.2 s after 60 % compared');
  const words = labTroubles.map((trouble) => troubleInWords({ trouble, at: at(60), lastsMs: 5600 }));
  t.same(words, [
    'nothing',
    'the link cut for 5.6 s, 1.2 s after 60 % compared',
    'the standby killed, 1.2 s after 60 % compared',
    "the standby's host without power, 1.2 s after 60 % compared",
    'over a slow link that loses frames',
    'no arbiter for 5.6 s, 1.2 s after 60 % compared',
    "the primary's clock stepped, 1.2 s after 60 % compared",
    "the standby's clock stepped, 1.2 s after 60 % compared",
  ]);
});
