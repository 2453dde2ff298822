import { test } from 'tap';
import { OutputWaits } from '../../../../../src/colo/core/primary/output-waits.ts';

test('the average is said once there are enough packets, of each mode for itself', async (t) => {
  const waits = new OutputWaits();
  waits.add('comparing', 23, 230);
  t.equal(waits.meanMs('comparing'), undefined);
  waits.add('comparing', 1, 10);
  t.equal(waits.meanMs('comparing'), 10);
  t.equal(waits.meanMs('buffered'), undefined);
  waits.forget('comparing');
  t.equal(waits.meanMs('comparing'), undefined);
});

test('what was long ago weighs little', async (t) => {
  const waits = new OutputWaits();
  waits.add('comparing', 1_000_000, 1e9);
  for (let second = 0; second < 20; second++) waits.add('comparing', 24, 24);
  t.ok((waits.meanMs('comparing') ?? 0) < 1.1);
});
