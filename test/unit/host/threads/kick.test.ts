import { test } from 'tap';
import { EINTR } from '../../../../src/host/errno.ts';
import { close } from '../../../../src/host/libc/descriptors.ts';
import { createEventfd } from '../../../../src/host/libc/events.ts';
import { installKickHandler, kick, threadId } from '../../../../src/host/threads/kick.ts';
import { inThread } from '../../../support/thread.ts';

test('gets a thread out of a system call that would block for ever', { timeout: 60_000 }, async (t) => {
  installKickHandler();
  const blocking = createEventfd(0);
  t.teardown(() => close(blocking));
  const cells = new Int32Array(new SharedArrayBuffer(4));
  const outcome = inThread(new URL('./threads.ts', import.meta.url), 'blockInRead', cells.buffer, blocking);

  // A kick before the thread is in the call does nothing, so it is repeated, as the controller of a vCPU does.
  const timer = setInterval(() => {
    const tid = Atomics.load(cells, 0);
    if (tid !== 0) kick(tid);
  }, 5);
  t.teardown(() => clearInterval(timer));

  t.equal(await outcome, -EINTR);
});

test('does nothing to a thread that computes, nor to one that is gone', async (t) => {
  installKickHandler();
  t.equal(threadId(), process.pid, "the main thread's id is the process's");
  t.doesNotThrow(() => kick(threadId()));
  t.doesNotThrow(() => kick(0x7fff_0000));
});
