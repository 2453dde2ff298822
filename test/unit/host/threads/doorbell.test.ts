import { type Test, test } from 'tap';
import { close } from '../../../../src/host/libc/descriptors.ts';
import { createDoorbellPipe, Doorbell, DoorbellButton } from '../../../../src/host/threads/doorbell.ts';
import { openFiles } from '../../../support/open-files.ts';
import { inThread } from '../../../support/thread.ts';

const threads = new URL('./threads.ts', import.meta.url);

function newDoorbell(t: Test): { bell: Doorbell; button: DoorbellButton } {
  stayAlive(t);
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  return { bell, button: new DoorbellButton(bell.button) };
}

const longMs = 100_000;

/** Listening keeps no process alive, and the threads that ring may have ended when the last ring is heard. */
function stayAlive(t: Test): void {
  const timer = setInterval(() => {}, 1000);
  t.teardown(() => clearInterval(timer));
}

/** Whether the bell is heard within a while that is long enough for a pipe. */
function isHeard(bell: Doorbell): Promise<boolean> {
  return bell.next(100);
}

test('wakes an event loop that sleeps', { timeout: 60_000 }, async (t) => {
  const { bell } = newDoorbell(t);
  const cells = new Int32Array(new SharedArrayBuffer(4));
  const next = bell.next(longMs);
  await inThread(threads, 'ring', cells.buffer, bell.button, 1);
  await next;
  t.equal(cells[0], 1);
});

test('is heard though nobody waited when it rang', async (t) => {
  const { bell, button } = newDoorbell(t);
  button.ring();
  t.equal(await isHeard(bell), true);
});

test('is heard once for many rings between two looks', async (t) => {
  const { bell, button } = newDoorbell(t);
  for (let count = 0; count < 5; count++) button.ring();
  t.equal(await isHeard(bell), true);
  t.equal(await isHeard(bell), false);
  button.ring();
  t.equal(await isHeard(bell), true);
});

test('takes more rings than a pipe holds', async (t) => {
  const { bell, button } = newDoorbell(t);
  for (let count = 0; count < 70_000; count++) button.ring();
  t.equal(await isHeard(bell), true);
});

test('loses no ring of two threads that ring a hundred thousand times', { timeout: 120_000 }, async (t) => {
  const { bell } = newDoorbell(t);
  const cells = new Int32Array(new SharedArrayBuffer(4));
  const times = 100_000;
  const rung = Promise.all([1, 2].map(() => inThread(threads, 'ring', cells.buffer, bell.button, times)));
  let seen = 0;
  while (seen < 2 * times) {
    await bell.next(longMs);
    seen = Atomics.load(cells, 0);
  }
  await rung;
  t.equal(seen, 2 * times, 'what was written before the last ring was seen');
});

test('every one of many rings wakes a loop that has nothing else to do', { timeout: 240_000 }, async (t) => {
  const { bell } = newDoorbell(t);
  const cells = new Int32Array(new SharedArrayBuffer(4));
  const times = 5_000;
  const lost = inThread(threads, 'ringAndWait', cells.buffer, bell.button, times);
  while ((cells[0] as number) < times) {
    await bell.next(longMs);
    Atomics.add(cells, 0, 1);
    Atomics.notify(cells, 0);
  }
  t.equal(await lost, 0);
});

test('lets go of whoever waits when it is closed, and of its descriptors', async (t) => {
  const before = openFiles().length;
  const { bell } = newDoorbell(t);
  const next = bell.next(longMs);
  bell.close();
  await next;
  await new Promise(setImmediate);
  t.equal(openFiles().length, before);
  new Doorbell().close();
  t.equal(openFiles().length, before, 'also when nobody ever listened');
});

test('one that outlives who listens there is heard by the next who does', async (t) => {
  stayAlive(t);
  const pipe = createDoorbellPipe();
  const before = openFiles().length;
  const [first, second] = [new Doorbell(pipe), new Doorbell(pipe)];
  void first.next();
  first.close();
  new DoorbellButton(pipe.button).ring();
  t.equal(await isHeard(second), true);
  second.close();
  await new Promise(setImmediate);
  t.equal(openFiles().length, before, 'nothing is left of those who listened, and the pipe is open');
  for (const fd of [pipe.listening, pipe.button]) close(fd);
});
