import { test } from 'tap';
import { ResetPace } from '../../../../../src/vmm/machine/resets/reset-pace.ts';

/** Whether each of these resets, by the minute, is told as one of a loop. */
function told(...minutes: number[]): boolean[] {
  const pace = new ResetPace();
  return minutes.map((minute) => pace.isLoop(1000 + minute * 60_000));
}

test('five resets within a minute are a loop, which is told once', async (t) => {
  t.strictSame(told(0, 0.25, 0.5, 0.75, 1, 1.01, 1.02), [false, false, false, false, true, false, false]);
});

test('a guest that reboots now and then is in no loop', async (t) => {
  t.strictSame(told(0, 1, 2, 3, 4, 5, 6, 7), new Array(8).fill(false));
});

test('a guest may be in a loop after reboots that were none', async (t) => {
  t.strictSame(told(0, 10, 20, 30, 30.1, 30.2, 30.3, 30.4), [...new Array(7).fill(false), true]);
});
