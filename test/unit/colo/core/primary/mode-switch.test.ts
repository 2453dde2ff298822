import { test } from 'tap';
import { ModeSwitch } from '../../../../../src/colo/core/primary/mode-switch.ts';
import { settings } from '../scripted.ts';

const comparing = { ...settings, compares: true, divergenceShare: 0.5, buffersForMs: 1000 };

/** Rounds of `periodMs`, each ended by a divergence that cost `costMs`. When the last one ended. */
function rounds(modes: ModeSwitch, from: number, count: number, periodMs: number, costMs: number): number {
  let now = from;
  for (let round = 0; round < count; round++) {
    modes.compared(true, now, costMs, now + periodMs);
    now += periodMs;
  }
  return now;
}

test('without leave to compare every epoch is buffered', async (t) => {
  const modes = new ModeSwitch(settings);
  modes.begin(0);
  t.equal(modes.next(1e9), 'buffered');
});

test('guests that hardly ever agree are buffered, and the reason is a sentence', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  t.equal(modes.next(0), 'comparing');
  const now = rounds(modes, 0, 4, 20, 15);
  t.equal(modes.next(now), 'buffered');
  t.match(modes.why, /did not agree: 75 % of the time/);
});

test('divergences that are cheap for how rare they are change nothing, nor do a few', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  t.equal(modes.next(rounds(modes, 0, 100, 100, 15)), 'comparing');
  const few = new ModeSwitch(comparing);
  few.begin(0);
  t.equal(few.next(rounds(few, 0, 3, 20, 19)), 'comparing');
  few.compared(false, 60, 0, 80);
  t.equal(few.next(rounds(few, 80, 3, 20, 19)), 'comparing', 'a round that went well breaks the row');
});

test('comparing is tried again after a while, and each time in vain the while is twice as long', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  let now = rounds(modes, 0, 4, 20, 19);
  for (const waitMs of [2000, 4000, 8000]) {
    t.equal(modes.next(now + waitMs - 1), 'buffered');
    now += waitMs;
    t.equal(modes.next(now), 'comparing');
    now = rounds(modes, now, 4, 20, 19);
  }
  for (let again = 0; again < 20; again++) {
    now += 1000 * 64;
    t.equal(modes.next(now), 'comparing', 'but never longer than a bound');
    now = rounds(modes, now, 4, 20, 19);
  }
});

test('once it has gone well for long, the while is short again', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  let now = rounds(modes, 0, 4, 20, 19);
  now += 2000;
  t.equal(modes.next(now), 'comparing');
  now += 10_000;
  now = rounds(modes, now, 4, 20, 19);
  t.equal(modes.next(now + 1000), 'comparing');
});

test('a clock that went back does not keep a pair in buffered mode', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(1e6);
  rounds(modes, 1e6, 4, 20, 19);
  t.equal(modes.next(0), 'buffered');
  t.equal(modes.next(2000), 'comparing');
});
