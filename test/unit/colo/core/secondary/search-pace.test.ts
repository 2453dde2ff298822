import { test } from 'tap';
import { SearchPace } from '../../../../../src/colo/core/secondary/search-pace.ts';

test('a survivor is looked for soon, and then less and less often, for ever', async (t) => {
  const pace = new SearchPace();
  const waits = Array.from({ length: 8 }, () => {
    t.ok(pace.asks(true));
    return pace.waitMs;
  });
  t.same(waits.slice(0, 3), [750, 1125, 1687.5]);
  t.same(waits.slice(6), [5000, 5000]);
});

test('nobody is looked for while somebody is protected, and soon once that is over', async (t) => {
  const pace = new SearchPace();
  for (let count = 0; count < 8; count++) pace.asks(true);
  t.notOk(pace.asks(false));
  t.equal(pace.waitMs, 500);
});

test('who answers when somebody else has come is let go, unless that one has said nothing', async (t) => {
  const pace = new SearchPace();
  t.ok(pace.answered('a', 'nobody'));
  t.ok(pace.answered('a', 'stranger'));
  t.notOk(pace.answered('a', 'primary'));
});

test('why nobody could be asked is told once, and again when it is another reason, or somebody had answered', async (t) => {
  const pace = new SearchPace();
  t.same(
    ['refused', 'refused', 'no route', 'refused'].map((reason) => pace.failed('a', reason)),
    [true, false, true, true],
  );
  pace.answered('a', 'nobody');
  t.ok(pace.failed('a', 'refused'));
  t.ok(pace.failed('b', 'refused'), 'of another place');
  t.notOk(pace.failed('a', 'refused'));
});
