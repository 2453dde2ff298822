import { test } from 'tap';
import { Mutex } from '../../../../src/host/threads/mutex.ts';
import { inThread } from '../../../support/thread.ts';

const threads = new URL('./threads.ts', import.meta.url);

test('lets one thread in at a time', { timeout: 120_000 }, async (t) => {
  const storage = new SharedArrayBuffer(12);
  const times = 300_000;

  await Promise.all([1, 2, 3].map(() => inThread(threads, 'increment', storage, times, 3)));

  t.equal(new Int32Array(storage)[1], 3 * times, 'no update was lost');
});

test('makes a second thread wait, and wakes it', { timeout: 60_000 }, async (t) => {
  const cells = new Int32Array(new SharedArrayBuffer(12));
  const mutex = new Mutex(cells, 0);
  mutex.lock();

  const other = inThread(threads, 'increment', cells.buffer, 1, 1);
  await Atomics.waitAsync(cells, 2, 0).value;
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(cells[1], 0, 'it waits');
  mutex.unlock();

  await other;
  t.equal(cells[1], 1);
  t.equal(cells[0], 0, 'free again');
});
