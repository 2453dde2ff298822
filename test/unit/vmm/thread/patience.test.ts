import { test } from 'tap';
import { Patience } from '../../../../src/vmm/thread/patience.ts';

/** A clock that goes on when it is told to. */
class Clock {
  ms = 1000;
  readonly now = (): number => this.ms;
}

test('lasts as long as it is to, for who looks often', async (t) => {
  const clock = new Clock();
  const patience = new Patience(900, clock.now);
  let looks = 0;
  do {
    clock.ms += 5;
    looks++;
  } while (!patience.isOver());
  t.equal(looks, 180);
});

test('a freeze of any length counts for one look', async (t) => {
  const clock = new Clock();
  const patience = new Patience(100, clock.now);
  clock.ms += 3_600_000;
  t.equal(patience.isOver(), false);
  for (let look = 0; look < 15; look++) {
    clock.ms += 5;
    t.equal(patience.isOver(), false);
  }
  clock.ms += 5;
  t.equal(patience.isOver(), true);
});

test('ends also where every look takes long', async (t) => {
  const clock = new Clock();
  const patience = new Patience(900, clock.now);
  let looks = 0;
  do {
    clock.ms += 4000;
    looks++;
  } while (!patience.isOver());
  t.equal(looks, 45);
});
