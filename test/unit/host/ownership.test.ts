import { test } from 'tap';
import { Owner } from '../../../src/host/ownership.ts';

test('closes in reverse order', async (t) => {
  const closed: string[] = [];
  const owner = new Owner();
  owner.own({ close: () => closed.push('first') });
  owner.defer(() => closed.push('second'));
  owner.own({ close: () => closed.push('third') });
  owner.close();
  t.strictSame(closed, ['third', 'second', 'first']);
});

test('closes everything, then throws the first error', async (t) => {
  const closed: string[] = [];
  const owner = new Owner();
  owner.defer(() => closed.push('first'));
  owner.defer(() => {
    throw new Error('second fails');
  });
  owner.defer(() => {
    throw new Error('third fails');
  });
  t.throws(() => owner.close(), { message: 'third fails' });
  t.strictSame(closed, ['first']);
});

test('closes once', async (t) => {
  let closed = 0;
  const owner = new Owner();
  owner.defer(() => closed++);
  owner.close();
  owner.close();
  t.equal(closed, 1);
});

test('gives back what it owns', async (t) => {
  const owned = { close: () => {} };
  t.equal(new Owner().own(owned), owned);
});
