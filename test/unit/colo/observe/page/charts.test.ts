import { test } from 'tap';
import { bytes, charts, digits, time, tones } from '../../../../../src/colo/observe/page/charts.ts';
import { Samples, words } from '../../../../../src/colo/observe/web/samples.ts';

for (const [value, shown] of [
  [0, '0'],
  [0.0123, '0.01'],
  [0.04, '0.04'],
  [1.26, '1.3'],
  [9, '9'],
  [12.6, '13'],
  [1_234_567, '1,234,567'],
] as const) {
  test(`${value} is shown as ${shown}`, async (t) => {
    t.equal(digits(value), shown);
  });
}

test('lengths of time and sizes have units that fit', async (t) => {
  t.strictSame([0.2, 999, 1500, 119_000, 180_000].map(time), ['0.2 ms', '999 ms', '1.5 s', '119 s', '3 min']);
  t.strictSame([0, 1023, 1536, 2 ** 30].map(bytes), ['0 B', '1,023 B', '1.5 KiB', '1 GiB']);
});

test('each column of a sample is in a chart, and each line of a chart is a column', async (t) => {
  const drawn = charts.flatMap(({ lines }) => lines.map(({ column }) => column));
  t.strictSame(['at', 'word', ...drawn].sort(), Object.keys(new Samples().since(0)).sort());
});

test('each state has a tone', async (t) => {
  t.strictSame(Object.keys(tones).sort(), [...words].sort());
});
