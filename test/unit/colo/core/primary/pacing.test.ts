import { test } from 'tap';
import { Pacing } from '../../../../../src/colo/core/primary/pacing.ts';
import { settings } from '../scripted.ts';

test('output waits until the guest had its share of the time', async (t) => {
  const pacing = new Pacing(settings);
  pacing.stopped(30, 1000);
  pacing.want('output', 1001);
  t.equal(Math.round(pacing.dueAt(1001)), 1000 + 70, 'stopped for 30 ms, so it runs for 70 at least');
  pacing.want('mode', 1002);
  t.equal(Math.round(pacing.dueAt(1002)), 1000 + 70, 'an epoch in the wrong mode ends no sooner');
  pacing.want('command', 1002);
  t.equal(pacing.dueAt(1002), Number.NEGATIVE_INFINITY);
  t.notOk(pacing.canWait);
});

test('a trigger arms the delay from its own time', async (t) => {
  const pacing = new Pacing(settings);
  pacing.arm(0);
  t.equal(pacing.dueAt(0), settings.checkpointDelayMs);
  t.equal(pacing.dueAt(-700), settings.checkpointDelayMs - 700, 'a clock that went back makes nothing later');
  t.equal(pacing.dueAt(-600), settings.checkpointDelayMs - 700, 'nor does it put it off again and again');
  pacing.arm(0);
  pacing.want('command', 500);
  t.same(pacing.stopping(), ['command']);
  t.equal(pacing.dueAt(500), 500 + settings.checkpointDelayMs);
  pacing.delayMs = 100;
  t.equal(pacing.dueAt(500), 600);
});

test('what is wanted after the stop was ordered is for the next checkpoint', async (t) => {
  const pacing = new Pacing(settings);
  pacing.want('delay', 0);
  t.ok(pacing.canWait);
  pacing.stopping();
  pacing.want('reset', 1);
  pacing.stopped(1, 2);
  t.ok(pacing.isWanted);
});
