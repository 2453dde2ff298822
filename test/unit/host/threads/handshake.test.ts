import { test } from 'tap';
import { Handshake } from '../../../../src/host/threads/handshake.ts';
import { inThread } from '../../../support/thread.ts';

function handshake(start = 0): Handshake {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  cells.fill(start);
  return new Handshake(cells, 0, 1);
}

test('has a question until it is answered', async (t) => {
  const shake = handshake();
  t.equal(shake.question, undefined);
  const number = shake.ask();
  t.equal(shake.question, number);
  shake.answer(number);
  t.equal(shake.question, undefined);
  shake.wait(number, () => false); // returns
});

test('one answer is for all that was asked before', async (t) => {
  const shake = handshake();
  const [first, second] = [shake.ask(), shake.ask()];
  t.equal(shake.question, second);
  shake.answer(first);
  t.equal(shake.question, second);
  shake.answer(second);
  shake.wait(first, () => false);
  shake.wait(second, () => false);
  t.equal(shake.question, undefined);
});

test('counts on past 2^31', async (t) => {
  const shake = handshake(0x7fff_ffff);
  const number = shake.ask();
  t.equal(number, -0x8000_0000);
  shake.answer(number);
  shake.wait(number, () => false);
  t.equal(shake.question, undefined);
});

test('threads that ask wait for the answer to their own question', { timeout: 120_000 }, async (t) => {
  const storage = new SharedArrayBuffer(16);
  const cells = new Int32Array(storage);
  const shake = new Handshake(cells, 0, 1);
  const rounds = 500;
  const module = new URL('./threads.ts', import.meta.url);
  let running = 2;
  const askers = [1, 2].map(async () => {
    const early = await inThread(module, 'askMany', storage, rounds);
    running--;
    return early;
  });
  while (running > 0) {
    const number = shake.question;
    if (number !== undefined) {
      Atomics.store(cells, 2, number);
      shake.answer(number);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.strictSame(await Promise.all(askers), [0, 0], 'nobody went on before the answer');
  t.equal(cells[0], 2 * rounds);
});
