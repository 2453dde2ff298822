import { MessageChannel } from 'node:worker_threads';
import { test } from 'tap';
import { Calls, CallsClosedError } from '../../../../src/colo/side/calls.ts';

type Here = { readonly add: { readonly given: readonly [number, number]; readonly answer: number } };
type There = { readonly name: { readonly given: undefined; readonly answer: string } };

function pair(add: (given: readonly [number, number]) => number | Promise<number>): {
  here: Calls<There, Here>;
  there: Calls<Here, There>;
  close: () => void;
} {
  const { port1, port2 } = new MessageChannel();
  const here = new Calls<There, Here>(port1, { add });
  const there = new Calls<Here, There>(port2, { name: () => 'there' });
  const close = (): void => {
    port1.close();
    port2.close();
  };
  return { here, there, close };
}

test('both ends call each other, and get answers at once or later', async (t) => {
  const { here, there, close } = pair(async ([one, other]) => one + other);
  t.teardown(close);
  t.equal(await there.call('add', [2, 3]), 5);
  t.equal(await here.call('name', undefined), 'there');
});

test('what a handler throws reaches the caller as an error of the same words', async (t) => {
  const { there, close } = pair(() => {
    throw new TypeError('no such sum');
  });
  t.teardown(close);
  await t.rejects(there.call('add', [1, 1]), { message: 'no such sum' });
});

test('calls arrive in the order in which they were made', async (t) => {
  const seen: number[] = [];
  const { there, close } = pair(([one]) => {
    seen.push(one);
    return one;
  });
  t.teardown(close);
  there.tell('add', [1, 0]);
  there.tell('add', [2, 0]);
  await there.call('add', [3, 0]);
  t.strictSame(seen, [1, 2, 3]);
});

test('whoever waits for a thread that is gone is told, and so is who calls it afterwards', async (t) => {
  const { there, close } = pair(() => new Promise<number>(() => {}));
  t.teardown(close);
  const waiting = there.call('add', [1, 1]);
  there.close();
  await t.rejects(waiting, CallsClosedError);
  await t.rejects(there.call('add', [1, 1]), CallsClosedError);
});
