import { test } from 'tap';
import { formatSurvivor, survivorFigures } from '../../../../tools/bench/survivor-report.ts';

const machine = (residentMib: number, speed: number, byClock: number) => ({
  ...{ residentMib, hugeMib: residentMib / 2, memory: speed, faults: speed, disk: speed },
  ...{ memoryByClock: byClock, faultsByClock: byClock, diskByClock: byClock },
});
const survivor = (residentMib: number, speed: number, byClock: number) => ({
  ...machine(residentMib, speed, byClock),
  ...{ standbyMib: 700, atFirstMib: 1200 },
});

test('a survivor is held against the same guest unprotected, by processor time, and by the clock beside it', async (t) => {
  const round = {
    unprotected: machine(1000, 10, 8),
    buffered: survivor(1040, 9.6, 4),
    comparing: survivor(1100, 9, 8),
  };
  const figures = survivorFigures(1024, 640, [round, round, round]);
  t.strictSame(
    figures.limits.map(({ ratio, met }) => [ratio, met]),
    [
      [1.04, true],
      [0.96, true],
      [0.96, true],
      [0.96, true],
      [1.1, false],
      [0.9, false],
      [0.9, false],
      [0.9, false],
    ],
  );
  const text = formatSurvivor(figures);
  t.match(text, 'to unprotected: 1.04 of its memory; memory 0.96 (0.5), faults 0.96 (0.5), disk 0.96 (0.5)');
  t.match(text, 'before: 700 MiB as standby, 1200 right after the takeover');
});
