import t from 'tap';
import { formatRows, rowsResult } from '../../../../tools/bench/row-report.ts';
import type { Measurement, Row } from '../../../../tools/bench/rows.ts';

const row = (name: string): Row => ({
  name,
  request: 'requests',
  nominal: 100,
  run: async () => {},
  result: async () => ({ requests: 1, seconds: 1 }),
});
const speed = (...perSecond: number[]): Measurement[] =>
  perSecond.map((each) => ({ perSecond: each, cpuSeconds: 2, exitsPerRequest: 3, mmioExitsPerRequest: 1 }));

const result = rowsResult(
  'block',
  [row('faster'), row('slower')],
  new Map([
    // The host was half as fast in the second round: a ratio of medians would be 3.
    ['faster', { ours: speed(300, 150, 300), a: speed(200, 100, 100), b: speed(100, 50, 100) }],
    ['slower', { ours: speed(100, 100, 100), a: speed(100, 100, 100), b: speed(125, 125, 125) }],
  ]),
  3,
  'emulated',
);

t.test('ratios are speeds, ours to theirs, round by round', async (t) => {
  t.match(result.rows[0], { row: 'faster', ours: 300, a: 100, b: 100, ratio_a: 1.5, ratio_b: 3 });
});

t.test('the ratio of a row is the one to the best of the others', async (t) => {
  t.equal(result.rows[0]?.ratio, 1.5);
  t.equal(result.rows[1]?.ratio, 0.8);
});

t.test('the worst and the median of all rows stand at the top', async (t) => {
  t.match(result, { worst_ratio: 0.8, median_ratio: 1.15, rounds: 3, host: 'emulated' });
});

t.test('CPU times and exits stand beside the figures, and the work they are for', async (t) => {
  t.match(result.rows[1], { work: '100 requests', b_cpu_s: 2, b_exits: 3, b_mmio_exits: 1 });
});

t.test('the table has its columns one below the other and says which way ratios go', async (t) => {
  const [head = '', first = '', second = '', ...rest] = formatRows(result).split('\n');
  const end = (line: string, word: string): number => line.indexOf(word) + word.length;
  t.equal(end(head, 'ratio'), end(first, '1.500'));
  t.equal(end(head, 'ratio'), end(second, '0.800'));
  t.match(rest.join('\n'), /ratio: .*from 1 on, ours is at least as fast/);
});
