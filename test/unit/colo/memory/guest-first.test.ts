import { test } from 'tap';
import { GuestFirst, restMs } from '../../../../src/colo/memory/guest-first.ts';

test('work rests as long as the guest waited for it, and not longer than it took', async (t) => {
  t.equal(restMs(10, 0), 0);
  t.equal(restMs(10, 4), 4);
  t.equal(restMs(10, 10), 10);
  t.equal(restMs(10, 35), 10, 'of several vCPUs no more than the work took');
  t.equal(restMs(10, -1), 0, 'a vCPU that is gone');
  t.equal(restMs(5000, 5000), 200);
});

test('work is looked at once it has lasted, and what passes during a rest is not its fault', async (t) => {
  let now = 0;
  let waited = 0;
  const rests: number[] = [];
  const work = new GuestFirst({
    now: () => now,
    waited: () => waited,
    rest: async (ms) => {
      rests.push(ms);
      now += ms;
      waited += 50;
    },
  });
  work.begin();
  const pass = async (ms: number, guestWaits: number): Promise<void> => {
    now += ms;
    waited += guestWaits;
    await work.next();
  };
  await pass(3, 3);
  t.strictSame(rests, []);
  await pass(3, 1);
  t.strictSame(rests, [4], 'both pieces together');
  await pass(6, 0);
  await pass(100, 0);
  t.strictSame(rests, [4], 'nobody waited');
  await pass(10, 10);
  t.strictSame(rests, [4, 10]);
});
