import { setTimeout as forAWhile } from 'node:timers/promises';
import { test } from 'tap';
import { ClockCatchUp } from '../../../../src/vmm/vmstate/clock-catch-up.ts';

const second = 1_000_000_000n;
const busy = { isIdle: false, looksAtClocks: () => true };
const idle = { isIdle: true, looksAtClocks: () => true };
const deaf = { isIdle: false, looksAtClocks: () => false };

/** A clock that is looked at every 5 ms, or as seldom as the host does. */
function clockBehind(behindNs: bigint, everyMs = 5) {
  let nowMs = 1000;
  const clock = new ClockCatchUp(
    () => {},
    () => nowMs,
  );
  clock.start(behindNs);
  const next = (guest: typeof busy): bigint => {
    nowMs += everyMs;
    return clock.next(guest);
  };
  return { clock, next };
}

/** What the clock of a guest that is busy advances by, until it is right. */
function* stepsFrom(behindNs: bigint): Generator<bigint> {
  for (const { clock, next } = clockBehind(behindNs); clock.behindNs > 0n; ) yield next(busy);
}

const sum = (steps: readonly bigint[]): bigint => steps.reduce((total, step) => total + step, 0n);

for (const [what, behindNs] of [
  ['a year', 365n * 86_400n * second],
  ['a minute', 60n * second],
  ['a moment', 7_654_321n],
] as const) {
  test(`${what} is caught up with in steps that make all of it`, async (t) => {
    const steps = [...stepsFrom(behindNs)];
    t.equal(sum(steps), behindNs);
    t.ok(steps.length < 1500, `${steps.length} steps`);
  });
}

test('a step of a busy guest is a small part of what is left', async (t) => {
  const steps = [...stepsFrom(3600n * second)].filter((step) => step > 0n);
  const long = steps.filter((step) => step > 20_000_000n);
  t.ok(long.length > 100);
  for (const [index, step] of long.entries()) {
    const left = sum(steps.slice(index));
    t.ok(step <= left / 32n && step >= left / 33n, `step ${index}`);
  }
});

test('all of it is done at the first moment in which nothing runs, and nothing before, if it comes soon', async (t) => {
  const { clock, next } = clockBehind(60n * second);
  for (let look = 0; look < 99; look++) t.equal(next(busy), 0n);
  t.equal(next(idle), 60n * second);
  t.equal(clock.behindNs, 0n);
  t.equal(next(idle), 0n);
});

test('a step is put off until the guest has noticed the last one, however long that takes', async (t) => {
  const { clock, next } = clockBehind(60n * second, 1000);
  t.ok(next(busy) > 0n);
  for (let look = 0; look < 1000; look++) t.equal(next(deaf), 0n);
  t.ok(next(busy) > 0n);
  clock.stop();
});

test('a new jump is waited with anew', async (t) => {
  const { clock, next } = clockBehind(60n * second);
  while (next(busy) === 0n);
  clock.start(30n * second);
  t.equal(next(busy), 0n);
  t.equal(clock.behindNs, 30n * second);
  clock.stop();
});

test('calls until nothing is left, and not after it was stopped', async (t) => {
  let called = 0;
  const clock = new ClockCatchUp(() => {
    called++;
    clock.next(called === 5 ? idle : busy);
  });
  clock.start(second);
  clock.next(busy);
  while (clock.behindNs > 0n) await forAWhile(5);
  await forAWhile(30);
  t.equal(called, 5);
  clock.start(second);
  clock.next(busy);
  clock.stop();
  await forAWhile(30);
  t.equal(called, 5);
});

test('a guest that cannot be looked at is looked at later, if there is a reason', async (t) => {
  let called = 0;
  const clock = new ClockCatchUp(() => {
    called++;
    if (called < 3) clock.later();
  });
  clock.later();
  await forAWhile(30);
  t.equal(called, 0);
  clock.start(second);
  clock.later();
  while (called < 3) await forAWhile(5);
  await forAWhile(30);
  t.equal(called, 3);
});
