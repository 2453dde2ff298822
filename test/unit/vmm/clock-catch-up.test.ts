import { setTimeout as forAWhile } from 'node:timers/promises';
import { test } from 'tap';
import { ClockCatchUp } from '../../../src/vmm/clock-catch-up.ts';

const second = 1_000_000_000n;

function* stepsFrom(behindNs: bigint): Generator<bigint> {
  const clock = new ClockCatchUp(() => {});
  for (clock.behindNs = behindNs; clock.behindNs > 0n; ) yield clock.next(false);
  clock.stop();
}

for (const [what, behindNs] of [
  ['a year', 365n * 86_400n * second],
  ['a minute', 60n * second],
  ['a moment', 7_654_321n],
] as const) {
  test(`${what} is caught up with in steps that make all of it`, async (t) => {
    const steps = [...stepsFrom(behindNs)];
    t.equal(
      steps.reduce((sum, step) => sum + step, 0n),
      behindNs,
    );
    t.ok(steps.length < 500, `${steps.length} steps`);
  });
}

test('what follows a step is fifteen times as much, for others to be charged with', async (t) => {
  const steps = [...stepsFrom(3600n * second)];
  const long = steps.filter((step) => step > 20_000_000n);
  t.ok(long.length > 100);
  for (const [index, step] of long.entries()) {
    const rest = steps.slice(index + 1).reduce((sum, later) => sum + later, 0n);
    t.ok(rest >= 15n * step && rest < 15n * step + 16n, `step ${index}`);
  }
});

test('one step does where nothing runs', async (t) => {
  const clock = new ClockCatchUp(() => t.fail('there is none to come'));
  clock.behindNs = 60n * second;
  t.equal(clock.next(true), 60n * second);
  t.equal(clock.behindNs, 0n);
  await forAWhile(30);
});

test('calls for one step after the other until none is left, and for none when it is stopped', async (t) => {
  let called = 0;
  const clock = new ClockCatchUp(() => {
    called++;
    clock.next(false);
  });
  clock.behindNs = second;
  clock.next(false);
  while (clock.behindNs > 0n) await forAWhile(10);
  const steps = [...stepsFrom(second)].length;
  t.equal(called, steps - 1);
  clock.behindNs = second;
  clock.next(false);
  clock.stop();
  await forAWhile(30);
  t.equal(called, steps - 1);
});

test('a step is put off as often as it has to be, but not for ever', async (t) => {
  let called = 0;
  const clock = new ClockCatchUp(() => {
    called++;
    if (!clock.delay()) clock.next(true);
  });
  clock.behindNs = second;
  clock.next(false);
  const left = clock.behindNs;
  while (called < 3) await forAWhile(5);
  t.equal(clock.behindNs, left);
  while (clock.behindNs > 0n) await forAWhile(5);
  t.equal(called, 51);
});
