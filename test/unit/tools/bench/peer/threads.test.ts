import { test } from 'tap';
import { close, createPipe } from '../../../../../src/host/libc/descriptors.ts';
import { inThread } from '../../../../support/thread.ts';

test('who asks is answered by a guest that nobody protects, and each answer is timed', async (t) => {
  const [requests, asks] = createPipe();
  const [answers, tap] = createPipe();
  t.teardown(() => [requests, asks, answers, tap].forEach(close));
  const threads = new URL('../../../../../tools/bench/peer/threads.ts', import.meta.url);
  const packet = new Uint8Array(64);
  const io = inThread(threads, 'answerRequests', requests, tap, asks, packet.length);
  const took = (await inThread(threads, 'askAndWait', asks, answers, packet, 20, 5)) as number[];
  await io;
  t.equal(took.length, 20);
  t.ok(took.every((us) => us > 0));
});
