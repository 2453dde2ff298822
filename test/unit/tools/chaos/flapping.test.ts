import { test } from 'tap';
import { recoveryTimes } from '../../../../src/colo/core/fencing/recovery.ts';
import { backOffMs, mostFailovers, tooSoon } from '../../../../tools/chaos/flapping.ts';

const detectionMs = 200;
const minute = 60_000;

test('who is given up again and again waits longer each time, up to ten minutes', async (t) => {
  const waits = [1, 2, 3, 4, 8, 9, 20].map((row) => backOffMs(row, detectionMs));
  t.strictSame(waits, [2000, 10_000, 20_000, 40_000, 600_000, 600_000, 600_000]);
  t.equal(backOffMs(1, 1000), 5000, 'five detection times');
  t.equal(backOffMs(2, 5000), 25_000);
  t.equal(backOffMs(9, detectionMs), recoveryTimes.longestWaitMs, 'as the product has it');
});

test('a pair has as many failovers as the waits between them leave room for', async (t) => {
  t.equal(mostFailovers(1000, detectionMs), 2, 'it is given up, and once roles change');
  t.equal(mostFailovers(2000, detectionMs), 3);
  t.equal(mostFailovers(11_999, detectionMs), 3);
  t.equal(mostFailovers(12_000, detectionMs), 4);
  t.equal(mostFailovers(32_000, detectionMs), 5);
});

test('a process that stands by again too soon is found', async (t) => {
  const events = (
    ...list: readonly (readonly [monotonicMs: number, event?: 'protected' | 'fenced' | 'unprotected'])[]
  ) => list.map(([monotonicMs, event]) => ({ monotonicMs, ...(event === undefined ? {} : { event }) }));

  t.strictSame(tooSoon([], detectionMs), []);
  const first = events([0, 'protected'], [500, 'unprotected'], [500, 'fenced'], [2500], [2500, 'protected']);
  t.strictSame(tooSoon(first, detectionMs), []);
  t.strictSame(tooSoon(events([0, 'protected'], [500, 'fenced'], [2400, 'protected']), detectionMs), [
    'given up 1 times in a row, it stood by again after 1900 ms',
  ]);
  t.strictSame(tooSoon([...first, ...events([3000, 'fenced'], [13_000, 'protected'])], detectionMs), []);
  t.strictSame(tooSoon([...first, ...events([3000, 'fenced'], [12_000, 'protected'])], detectionMs), [
    'given up 2 times in a row, it stood by again after 9000 ms',
  ]);
  const long = 2500 + 10 * minute;
  t.strictSame(tooSoon([...first, ...events([long, 'fenced'], [long + 2000, 'protected'])], detectionMs), []);
  t.strictSame(
    tooSoon([...first, ...events([long - 1, 'fenced'], [long + 2000, 'protected'])], detectionMs),
    ['given up 2 times in a row, it stood by again after 2001 ms'],
    'what was before is forgotten after ten minutes of protection, and no sooner',
  );
});
