import { test } from 'tap';
import {
  CountingThread,
  IoThreadSigns,
  SignsOfLife,
  TurnCounter,
  type WatchedThread,
} from '../../../../src/colo/side/signs-of-life.ts';
import { EventFd } from '../../../../src/host/eventfd.ts';
import { IoControl } from '../../../../src/vmm/platform/io-control.ts';

test('all threads have turned only if each has since the last look', (t) => {
  const [main, io] = [new SharedArrayBuffer(4), new SharedArrayBuffer(4)];
  const signs = new SignsOfLife();
  let nudges = 0;
  const sleepy: WatchedThread = new CountingThread(io);
  signs.watch('main', new CountingThread(main));
  signs.watch('io', { turned: () => sleepy.turned(), nudge: () => nudges++ });
  t.equal(nudges, 1, 'a thread that sleeps is woken, or the first look would find it asleep');
  t.ok(signs.turned(), 'nothing is held against them before the first look');
  t.notOk(signs.turned());
  Atomics.add(new Int32Array(main), 0, 1);
  t.notOk(signs.turned(), 'one is not all');
  Atomics.add(new Int32Array(main), 0, 1);
  Atomics.add(new Int32Array(io), 0, 1);
  t.ok(signs.turned());
  t.equal(nudges, 5);
  signs.forget('io');
  Atomics.add(new Int32Array(main), 0, 1);
  t.ok(signs.turned(), 'one that is gone need not turn');
  t.end();
});

test('a thread with an event loop counts by itself, until it is blocked', async (t) => {
  const counter = new TurnCounter(1);
  t.teardown(() => counter.close());
  const cell = new Int32Array(counter.storage);
  const before = Atomics.load(cell, 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const after = Atomics.load(cell, 0);
  t.ok(after > before);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  t.equal(Atomics.load(cell, 0), after);
});

test('a main thread that waits for disks, because a user pauses the machine, is no failure', (t) => {
  const control = new IoControl();
  const wake = new EventFd();
  t.teardown(() => wake.close());
  const signs = new SignsOfLife();
  signs.watch('main', new CountingThread(new SharedArrayBuffer(4)));
  signs.watch('io', new IoThreadSigns({ control: control.storage, wake: wake.fd }));
  signs.turned();
  t.notOk(signs.turned());
  t.strictSame(signs.still, ['main']);
  control.settles = true;
  t.ok(signs.turned());
  control.settles = false;
  t.notOk(signs.turned(), 'for so long, and no longer');
  t.end();
});
