import { test } from 'tap';
import { RecentFigures } from '../../../../../src/colo/side/primary/recent-figures.ts';

test('gives the median and the worst of what is not too old', (t) => {
  const figures = new RecentFigures(1000, 4);
  t.equal(figures.summary(0), undefined);
  for (const [value, at] of [
    [9, 0],
    [1, 500],
    [3, 900],
    [2, 1200],
  ] as const) {
    figures.add(value, at);
  }
  t.strictSame(figures.summary(1200), { count: 3, median: 2, worst: 3 });
  t.strictSame(figures.summary(2000), { count: 1, median: 2, worst: 2 });
  t.equal(figures.summary(9000), undefined);
  t.end();
});

test('keeps no more figures than it was told to', (t) => {
  const figures = new RecentFigures(1000, 2);
  for (const value of [5, 4, 3]) figures.add(value, 0);
  t.strictSame(figures.summary(0), { count: 2, median: 4, worst: 4 });
  t.end();
});
