import { test } from 'tap';
import { failoverFigures, formatFailover } from '../../../../tools/bench/failover-native-report.ts';

const change = (silenceMs: number, askedAgain = false) => ({ silenceMs, askedAgain });
const stop = (pagesWritten: number, median: number) => ({
  pagesWritten,
  pages: 5,
  median,
  worst: 9,
  parts: { copy: 0.2 },
});

test('a kill after which the client had to ask again counts, and is told of', async (t) => {
  const figures = failoverFigures({
    mode: 'comparing',
    kill: [change(40), change(1010, true), change(50)],
    switchover: [change(8.04), change(9)],
    again: [],
    stops: [stop(0, 0.1), stop(1000, 1.1)],
    answersPerSecond: [{ clients: 1, unprotected: 1000, protected: 500, insecure: 600 }],
  });
  t.match(figures.kill, { count: 3, p50: 50, p99: 1010, worst: 1010, askedAgain: 1, all: [40, 1010, 50] });
  t.match(figures.switchover, { count: 2, p50: 8.5, worst: 9, askedAgain: 0 });
  t.strictSame(
    figures.limits.map(({ ratio, met }) => [ratio, met]),
    [
      [50, true],
      [1010, false],
      [1, false],
      [1.1, false],
    ],
  );
  const text = formatFailover(figures);
  t.match(
    text,
    /kill -9 of the primary +silence p50 50 ms, p99 1010, worst 1010, of 3; the client asked again 1 times/,
  );
  t.match(text, /NO +kill -9: times that the client had to ask again +1 +at most 0/);
  t.match(text, /switchover +silence p50 8.5 ms/);
  t.notMatch(text, 'protected again');
});
