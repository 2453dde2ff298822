import { test } from 'tap';
import { advanced, distance, isAfter, isBefore, later } from '../../../../src/colo/packet/sequence.ts';

test('numbers wrap', async (t) => {
  const last = 0xffffffff | 0;
  t.equal(distance(5, last), 6);
  t.equal(distance(last, 5), -6);
  t.equal(advanced(last, 6), 5);
  t.equal(advanced(0x7fffffff, 1), -0x80000000);
  t.equal(distance(-0x80000000, 0x7fffffff), 1);
  t.ok(isBefore(last, 5));
  t.notOk(isBefore(5, last));
  t.notOk(isBefore(5, 5));
  t.ok(isAfter(5, last));
  t.notOk(isAfter(last, 5));
  t.notOk(isAfter(5, 5));
  t.equal(later(5, last), 5);
  t.equal(later(last, 5), 5);
  t.equal(later(7, 5), 7);
});
