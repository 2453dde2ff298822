import { test } from 'tap';
import { phase } from '../../../../src/vmm/thread/thread-control.ts';
import { until } from '../../../support/machines.ts';
import { gate } from './parked-thread.ts';
import { gateCells, start } from './start-thread.ts';

test('a parked thread serves, is not waited for, and goes on when it is resumed', { timeout: 60_000 }, async (t) => {
  const cells = gateCells();
  const { control, thread } = start(t, 'serveAtGate', cells);
  await until(() => control.phase === phase.parked);
  t.equal(thread.serve(), true);
  await until(() => Atomics.load(cells, gate.reached) === 1);
  t.equal(control.phase, phase.serving);
  t.equal(thread.serve(), false, 'it serves already');
  t.equal(thread.parksWithin(10), false);
  thread.resume();
  Atomics.store(cells, gate.released, 1);
  Atomics.notify(cells, gate.released);
  await until(() => thread.hasEnded);
  t.equal(thread.serve(), false);
});
