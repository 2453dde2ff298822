import { test } from 'tap';
import { threadMs } from '../../../../src/host/system/clock.ts';
import { threadId } from '../../../../src/host/threads/kick.ts';

test('what a thread has run is told by its number as it is to itself', async (t) => {
  const before = threadMs(threadId());
  for (const until = threadMs() + 50; threadMs() < until; );
  const ran = threadMs(threadId()) - before;
  t.ok(ran >= 50, `${ran} ms`);
  t.ok(threadMs() >= before + ran);
});

test('what it waits does not count', async (t) => {
  const before = threadMs(threadId());
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  const ran = threadMs(threadId()) - before;
  t.ok(ran < 200, `${ran} ms`);
});

test('a thread that is not there has run for nothing', async (t) => {
  t.equal(threadMs(0x3fff_fffe), 0);
});
