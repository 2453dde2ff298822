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
    now = rounds(modes, now, 2, 20, 19);
  }
  for (let again = 0; again < 20; again++) {
    now += 1000 * 64;
    t.equal(modes.next(now), 'comparing', 'but never longer than a bound');
    now = rounds(modes, now, 2, 20, 19);
  }
});

test('of a guest that is known to disagree, fewer rounds say that it still does', async (t) => {
  const tried = (): { modes: ModeSwitch; now: number } => {
    const modes = new ModeSwitch(comparing);
    modes.begin(0);
    const now = rounds(modes, 0, 4, 20, 19) + 2000;
    t.equal(modes.next(now), 'comparing');
    return { modes, now };
  };
  const inVain = tried();
  t.equal(inVain.modes.next(rounds(inVain.modes, inVain.now, 1, 20, 19)), 'comparing', 'one is still chance');
  t.equal(inVain.modes.next(rounds(inVain.modes, inVain.now + 20, 1, 20, 19)), 'buffered');

  const better = tried();
  better.modes.compared(false, better.now, 0, better.now + 20);
  t.equal(better.modes.next(rounds(better.modes, better.now + 20, 3, 20, 19)), 'comparing', 'it has agreed meanwhile');
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

/**
 * Four clients who ask as soon as they are answered, `forMs` long: an answer waits as long as its mode has it wait, a checkpoint takes
 * `checkpointMs`, and an epoch that is compared lasts a second, a buffered one as long as its checkpoint.
 *
 * @returns when it is over, and the part of the time in which both guests ran
 */
function serve(
  modes: ModeSwitch,
  from: number,
  forMs: number,
  costs: Record<'comparing' | 'buffered' | 'checkpoint', number>,
) {
  let now = from;
  let comparedMs = 0;
  let mode = modes.next(now);
  let epochEndsAt = now;
  while (now < from + forMs) {
    const waitMs = costs[mode];
    now += waitMs;
    if (mode === 'comparing') comparedMs += waitMs;
    const endsNow = modes.waited(mode, 4, 4 * waitMs, now);
    if (!endsNow && now < epochEndsAt) continue;
    now += costs.checkpoint;
    modes.checkpointTook(costs.checkpoint);
    if (mode === 'comparing') modes.compared(false, now, 0, now);
    mode = modes.next(now);
    epochEndsAt = now + (mode === 'comparing' ? 1000 : 0);
  }
  return { now, share: comparedMs / (now - from), mode };
}

test('guests that agree, and of which one is late, are buffered: not for long is it worse than that', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  const { share, mode } = serve(modes, 0, 600_000, { comparing: 60, buffered: 20, checkpoint: 15 });
  t.equal(mode, 'buffered');
  t.ok(share < 0.1, `${share} of the time`);
  t.match(modes.why, /output waited for both guests for 60 ms, and would for a checkpoint for 2\d ms/);
});

test('guests that agree in less time than a checkpoint takes are never buffered, busy checkpoints or not', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  const { share } = serve(modes, 0, 600_000, { comparing: 8, buffered: 20, checkpoint: 15 });
  t.ok(share > 0.9, `${share} of the time`);
  t.equal(modes.why, 'both guests run, and their answers are compared');
});

test('when the other guest is no longer late it is soon noticed, however long it was', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  const { now } = serve(modes, 0, 60_000, { comparing: 60, buffered: 20, checkpoint: 15 });
  const { now: later } = serve(modes, now, 64_000, { comparing: 2, buffered: 20, checkpoint: 15 });
  const { share } = serve(modes, later, 1000, { comparing: 2, buffered: 20, checkpoint: 15 });
  t.ok(share > 0.9, `${share} of the time`);
});

test('what was measured decides: if output waits longer for checkpoints than it had, both guests run again at once', async (t) => {
  const modes = new ModeSwitch({ ...comparing, buffersForMs: 10_000 });
  modes.begin(0);
  // Checkpoints are quick, but the guest writes so much that there is hardly any time between them.
  const { share, now } = serve(modes, 0, 100_000, { comparing: 60, buffered: 90, checkpoint: 15 });
  t.ok(share > 0.85, `${share} of the time`);
  t.equal(modes.next(now), 'comparing');
});

test('of a few packets nothing is concluded, nor before there is anything to compare with', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  t.equal(modes.waited('comparing', 1000, 1e6, 100), false, 'nobody knows what a checkpoint takes');
  modes.checkpointTook(5);
  const few = new ModeSwitch(comparing);
  few.begin(0);
  few.checkpointTook(5);
  t.equal(few.waited('comparing', 4, 4000, 100), false);
  t.equal(modes.waited('comparing', 4, 4000, 100), true);
});

test('another pair is judged by what is its own', async (t) => {
  const modes = new ModeSwitch(comparing);
  modes.begin(0);
  modes.checkpointTook(5);
  modes.waited('comparing', 20, 20_000, 10);
  modes.begin(20);
  t.equal(modes.waited('comparing', 100, 100_000, 30), false);
});
