import { test } from 'tap';
import { formatIdle, idleFigures } from '../../../../tools/bench/idle-report.ts';

const side = (mib: (minute: number) => number, minutes = 30) => ({
  residentMib: Array.from({ length: minutes + 1 }, (_, minute) => mib(minute)),
  files: new Array<number>(minutes + 1).fill(40),
  cpuPercent: 2,
});
const flat = side((minute) => 100 + (minute % 3));

test('a side whose memory grows is told of by its name, and one that settles is flat', async (t) => {
  const text = (standby: typeof flat): string => formatIdle(idleFigures(30, 'comparing', 3600, flat, standby));
  t.match(text(side((minute) => Math.min(120, 60 + 30 * minute))), /^yes memory and open files are flat/);
  t.match(text(side((minute) => 100 + 3 * minute)), /^NO +the standby's memory grew from 1\d\d to 1\d\d MiB/);
});

test('of a few minutes nothing is said', async (t) => {
  const short = side(() => 100, 5);
  t.equal(idleFigures(5, 'buffered', 600, short, short).grown, null);
  t.match(formatIdle(idleFigures(5, 'buffered', 600, short, short)), /^\?/);
});
