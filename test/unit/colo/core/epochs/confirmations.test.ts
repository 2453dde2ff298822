import { test } from 'tap';
import { Confirmations } from '../../../../../src/colo/core/epochs/confirmations.ts';

test('of what came, the first that are done are confirmed, each time they are more', async (t) => {
  const confirmations = new Confirmations();
  const [one, two, three] = [confirmations.came(), confirmations.came(), confirmations.came()];
  t.equal(confirmations.news(), undefined);
  confirmations.done(two as number);
  t.equal(confirmations.news(), undefined, 'an older one is still needed');
  confirmations.done(one as number);
  t.equal(confirmations.news(), 2);
  t.equal(confirmations.news(), undefined, 'that was said');
  confirmations.done(three as number);
  confirmations.done(one as number);
  t.equal(confirmations.news(), 3);
});

test('another epoch begins at nothing, and what is late for the last one is no concern', async (t) => {
  const confirmations = new Confirmations();
  confirmations.came();
  const late = confirmations.came();
  confirmations.begin();
  t.equal(confirmations.came(), 0);
  confirmations.done(late);
  t.equal(confirmations.news(), undefined);
  confirmations.done(0);
  t.equal(confirmations.news(), 1);
});
