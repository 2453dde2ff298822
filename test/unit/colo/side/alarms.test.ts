import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'tap';
import { Alarms } from '../../../../src/colo/side/alarms.ts';

function alarms() {
  const rang: string[] = [];
  const own = { now: 0 };
  // A clock that goes with the real one, from 0.
  const began = performance.now();
  const set = new Alarms(
    () => own.now + performance.now() - began,
    (timer) => rang.push(timer),
  );
  return { set, rang, own };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}

test('each alarm rings once, in the order of their times', async (t) => {
  const { set, rang } = alarms();
  set.set('step', 30);
  set.set('heartbeat', 10);
  set.set('checkpoint', 20);
  await until(() => rang.length === 3);
  t.strictSame(rang, ['heartbeat', 'checkpoint', 'step']);
  set.clear();
});

test('one that is put off or stopped does not ring at its first time', async (t) => {
  const { set, rang } = alarms();
  set.set('step', 5);
  set.set('consent', 5);
  set.set('step', 40);
  set.set('consent', Number.POSITIVE_INFINITY);
  set.set('heartbeat', 20);
  await until(() => rang.length === 2);
  t.strictSame(rang, ['heartbeat', 'step']);
  set.clear();
});

test('one that is set anew while it rings rings again, and what it stops does not', async (t) => {
  const rang: string[] = [];
  const set = new Alarms(
    () => 100,
    (timer) => {
      rang.push(timer);
      set.set('checkpoint', Number.POSITIVE_INFINITY);
      if (rang.length < 3) set.set('step', 50);
    },
  );
  set.set('step', 10);
  set.set('checkpoint', 20);
  await until(() => rang.length === 3);
  t.strictSame(rang, ['step', 'step', 'step']);
  set.clear();
});

test('all that are past ring when the clock has jumped, and none after clear', async (t) => {
  const { set, rang, own } = alarms();
  set.set('heartbeat', 10);
  set.set('consent', 100_000);
  set.set('step', 200_000);
  own.now = 150_000;
  await until(() => rang.length === 2);
  t.strictSame(rang, ['heartbeat', 'consent']);
  set.clear();
  own.now = 300_000;
  set.set('checkpoint', 0);
  await until(() => rang.length === 3);
  t.strictSame(rang, ['heartbeat', 'consent', 'checkpoint']);
  set.clear();
});
