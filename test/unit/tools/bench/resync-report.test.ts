import { test } from 'tap';
import { formatResync, resyncFigures } from '../../../../tools/bench/resync-report.ts';

const copy = (mayDifferMib: number, sentMib: number, seconds: number) => ({ mayDifferMib, sentMib, seconds });
const speed = (memory: number, disk: number) => ({
  memory: { alone: 10, meanwhile: memory },
  disk: { alone: 20, meanwhile: disk },
});

test('a resync is held against a full copy, and a guest that works meanwhile against itself', async (t) => {
  const figures = resyncFigures({
    ...{ diskMib: 1024, changedPercent: 1 },
    full: [copy(1024, 1024, 10), copy(1024, 1024, 20)],
    byHash: [copy(1024, 10.24, 5), copy(1024, 10.24, 5)],
    resync: [copy(10, 10.24, 0.4), copy(10, 10.24, 1.6)],
    written: [{ cold: 1, alone: 2, meanwhile: 3 }],
    speed: [speed(7, 10), speed(9, 13)],
  });
  t.match(figures.ratios, [
    { ratio: 0.01, met: true },
    { ratio: 0.06, met: false },
    { ratio: 0.8, met: true },
    { ratio: 0.575, met: false },
  ]);
  const text = formatResync(figures);
  t.match(text, /NO +speed of disk while disk and RAM are copied +0\.575 +at least 0\.7/);
  t.match(text, 'work in memory: 10/s alone, 8/s from the start of a standby until the guest is protected');
});
