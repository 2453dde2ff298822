import { test } from 'tap';
import { Gate } from '../../../../../src/colo/core/epochs/gate.ts';
import { specification } from '../../../../../src/colo/core/rules.ts';
import { epoch } from '../../../../../src/colo/protocol/numbers.ts';

const e = epoch;

function holding(): Gate<string> {
  const gate = new Gate<string>('holding', specification);
  gate.permit(e(0), 100);
  return gate;
}

test('what S said as well leaves before older output, in the order in which it was found', async (t) => {
  const gate = holding();
  const numbers = ['a', 'b', 'c', 'd'].map((packet) => gate.take(packet, e(1)));
  gate.match(numbers[3] as number);
  gate.match(numbers[1] as number);
  t.equal(gate.nextNumber, numbers[3]);
  t.same([gate.next(1), gate.next(1), gate.next(1)], ['d', 'b', undefined]);
  t.same(gate.waiting(), ['a', 'c']);
  t.equal(gate.held, 2);
  gate.permit(e(1), 100);
  t.same([gate.next(1), gate.next(1), gate.next(1)], ['a', 'c', undefined], 'the checkpoint has the rest');
  t.equal(gate.left, 1);
  t.equal(gate.held, 0);
});

test('a match needs consent in time as well', async (t) => {
  const gate = holding();
  gate.match(gate.take('a', e(1)));
  t.equal(gate.peek(100), undefined);
  t.equal(gate.peek(99), 'a');
});

test('a match waits for the checkpoint before its epoch, and holds up nothing that another one covers', async (t) => {
  const gate = holding();
  const [older, covered, again, differs] = [
    gate.take('older', e(0)),
    gate.take('covered', e(1)),
    gate.take('again', e(2)),
    gate.take('differs', e(2)),
  ];
  gate.match(again);
  t.ok(gate.hasMatched);
  t.notOk(gate.isNextMatched, 'S has not the state that says it');
  t.equal(gate.nextNumber, older);
  t.same([gate.next(1), gate.next(1)], ['older', undefined]);
  t.equal(gate.nextNumber, covered);
  gate.permit(e(1), 100);
  t.notOk(gate.isNextMatched, 'what a checkpoint covers leaves in order');
  t.equal(gate.nextNumber, covered);
  t.equal(gate.next(1), 'covered');
  t.ok(gate.isNextMatched);
  t.equal(gate.nextNumber, again);
  t.same([gate.next(1), gate.next(1)], ['again', undefined]);
  t.equal(gate.nextNumber, differs);
  t.same(gate.waiting(), ['differs']);
});

test('a match of what has left with its checkpoint is nothing', async (t) => {
  const gate = holding();
  const number = gate.take('a', e(0));
  t.equal(gate.next(1), 'a');
  gate.match(number);
  gate.take('b', e(1));
  t.equal(gate.next(1), undefined);
});

test('an epoch counts as left when the last of it has, matched or not', async (t) => {
  const gate = holding();
  const [one, two] = [gate.take('a', e(1)), gate.take('b', e(1))];
  gate.take('c', e(2));
  gate.match(two);
  gate.next(1);
  gate.permit(e(2), 100);
  t.equal(gate.left, 0, 'a waits');
  gate.match(one);
  gate.next(1);
  t.equal(gate.left, 1);
  t.same(gate.waiting(e(2)), ['c']);
});

test('of what S itself keeps, the oldest are forgotten; the rest goes out in order when it is opened', async (t) => {
  const gate = new Gate<string>('holding', specification);
  for (const packet of ['a', 'b', 'c']) gate.take(packet, e(4));
  t.equal(gate.next(1), undefined, 'nothing permits it');
  gate.forget(1);
  gate.forget(0);
  gate.set('direct');
  t.same([gate.next(1), gate.next(1), gate.next(1)], ['b', 'c', undefined]);
  gate.take('d', e(5));
  gate.forget(9);
  t.equal(gate.held, 0);
});

test('numbers go on over what was cleared', async (t) => {
  const gate = holding();
  const first = gate.take('a', e(1));
  gate.clear();
  t.equal(gate.take('b', e(1)), first + 1);
  gate.match(first);
  t.equal(gate.next(1), undefined);
  gate.match(first + 1);
  t.equal(gate.next(1), 'b');
});
