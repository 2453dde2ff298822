import { test } from 'tap';
import { inTime, Patience } from '../../../../src/vmm/thread/patience.ts';

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

test('what comes in time is given on, and what does not is not waited for', { timeout: 20_000 }, async (t) => {
  t.strictSame(await inTime(Promise.resolve(undefined), new Patience(60_000)), { value: undefined });
  t.equal(await inTime(new Promise(() => {}), new Patience(30)), undefined);
  await t.rejects(inTime(Promise.reject(new Error('no')), new Patience(60_000)), { message: 'no' });
});

test('patience that several share is what is left of it', { timeout: 20_000 }, async (t) => {
  const clock = new Clock();
  const patience = new Patience(30, clock.now);
  const silence = new Promise(() => {});
  clock.ms += 20;
  patience.isOver();
  clock.ms += 20;
  t.equal(await inTime(silence, patience), undefined, 'it is over at the first look');
});
