import { test } from 'tap';
import { Doorbell } from '../../../src/host/doorbell.ts';
import { inThread } from '../../support/thread.ts';

const threads = new URL('./threads.ts', import.meta.url);

function newDoorbell(): { doorbell: Doorbell; cells: Int32Array<SharedArrayBuffer> } {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  return { doorbell: new Doorbell(cells, 0), cells };
}

test('wakes an event loop that sleeps', { timeout: 60_000 }, async (t) => {
  const { doorbell, cells } = newDoorbell();
  const heard = doorbell.rings;
  const next = doorbell.next(heard);
  await inThread(threads, 'ring', cells.buffer, 1);
  t.equal(await next, heard + 1);
});

test('does not lose a ring between two looks', async (t) => {
  const { doorbell } = newDoorbell();
  const heard = doorbell.rings;
  doorbell.ring();
  t.equal(await doorbell.next(heard), heard + 1);
});

test('takes many rings between two looks for one', async (t) => {
  const { doorbell } = newDoorbell();
  const heard = doorbell.rings;
  for (let count = 0; count < 5; count++) doorbell.ring();
  t.equal(await doorbell.next(heard), heard + 5);
  const silent = await Promise.race([
    doorbell.next(doorbell.rings),
    new Promise((resolve) => setTimeout(resolve, 50, 'silent')),
  ]);
  t.equal(silent, 'silent');
});

test('loses no ring of two threads that ring two million times', { timeout: 120_000 }, async (t) => {
  const { doorbell, cells } = newDoorbell();
  const times = 1_000_000;
  const keepAlive = setInterval(() => {}, 1000); // listening does not
  t.teardown(() => clearInterval(keepAlive));
  const rung = Promise.all([1, 2].map(() => inThread(threads, 'ring', cells.buffer, times)));

  let heard = doorbell.rings;
  let seen = Atomics.load(cells, 1);
  while (seen < 2 * times) {
    heard = await doorbell.next(heard);
    seen = Atomics.load(cells, 1);
  }

  await rung;
  t.equal(seen, 2 * times, 'what was written before the last ring was seen');
});

test('counts on past 2^31', async (t) => {
  const { doorbell, cells } = newDoorbell();
  cells[0] = 0x7fff_ffff;
  const heard = doorbell.rings;
  doorbell.ring();
  t.equal(await doorbell.next(heard), -0x8000_0000);
});
