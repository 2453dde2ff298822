import { test } from 'tap';
import { RunDelay } from '../../../../src/host/system/run-delay.ts';

test('says how long a thread waited for a processor', async (t) => {
  const delay = new RunDelay([process.pid]);
  t.teardown(() => delay.close());
  const first = delay.ms;
  t.ok(first >= 0 && Number.isFinite(first), `${first}`);
  t.ok(delay.ms >= first);
});

test('threads that are not there have not waited, nor has anybody once it is closed', async (t) => {
  const nobody = new RunDelay([0, 2 ** 30]);
  t.equal(nobody.ms, 0);
  nobody.close();
  const delay = new RunDelay([process.pid]);
  delay.close();
  t.equal(delay.ms, 0);
});
