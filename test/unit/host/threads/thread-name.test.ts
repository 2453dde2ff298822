import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { inThread } from '../../../support/thread.ts';

const threads = new URL('./threads.ts', import.meta.url);

test('a thread has a name, and its process the one it had', async (t) => {
  const before = readFileSync('/proc/self/comm', 'latin1');
  t.equal(await inThread(threads, 'nameOf', 'vcpu 0'), 'vcpu 0\n');
  t.equal(readFileSync('/proc/self/comm', 'latin1'), before);
});
