import { test } from 'tap';
import { Recovery } from '../../../../../src/colo/core/fencing/recovery.ts';
import { randomNumbers } from '../../../../support/random.ts';

const detectMs = 200;
const tickMs = 50;
/** A pair is made in so long, at least. */
const pairingMs = 500;
const second = 1000;
const minute = 60 * second;

/** Turns in time from `from` on until it may stand by; when that is. */
function standsBy(recovery: Recovery, from: number): number {
  let now = from;
  while (recovery.left(now) > 0) {
    now += tickMs;
    recovery.turned(now);
  }
  return now;
}

/**
 * A standby on a host that runs it for so long, then not for so long, and so on: when it was given up. Whoever says nothing for
 * the detection time is, and pairs again as soon as it stands by.
 */
function lossesOf(pattern: readonly { readonly runsMs: number; readonly starvedMs: number }[]): number[] {
  const recovery = new Recovery({ detectMs });
  const losses: number[] = [];
  let [now, protectsAt, isProtecting] = [0, pairingMs, false];
  for (const { runsMs, starvedMs } of pattern) {
    for (const end = now + runsMs; now < end; now += tickMs) {
      recovery.turned(now);
      if (protectsAt === Number.POSITIVE_INFINITY && recovery.left(now) === 0) protectsAt = now + pairingMs;
      if (isProtecting || now < protectsAt) continue;
      isProtecting = true;
      recovery.protects(now);
    }
    now += starvedMs;
    if (starvedMs <= detectMs) continue;
    // Pairing may have been given up, too; that is no failover.
    if (protectsAt !== Number.POSITIVE_INFINITY) protectsAt = now + pairingMs;
    if (!isProtecting) continue;
    isProtecting = false;
    losses.push(now);
    recovery.givenUp(now);
    protectsAt = Number.POSITIVE_INFINITY;
  }
  return losses;
}

const repeated = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

test('a standby that was given up once stands by again when its threads have turned in time for a while', (t) => {
  const recovery = new Recovery({ detectMs });
  recovery.protects(0);
  recovery.givenUp(1000);
  t.equal(recovery.left(1000), 2000);
  recovery.turned(1050);
  t.equal(recovery.left(2500), 500);
  recovery.turned(2500);
  t.equal(recovery.left(2500), 2000, 'it was late: that time does not count');
  t.equal(standsBy(recovery, 2500), 4500);
  t.end();
});

test('where a host may be silent for longer, it has to be well for longer', (t) => {
  const recovery = new Recovery({ detectMs: 5000 });
  recovery.givenUp(0);
  recovery.turned(2000);
  t.equal(recovery.left(2000), 23_000, 'two seconds are not late there');
  t.end();
});

test('who is given up again and again waits twice as long each time, up to ten minutes', (t) => {
  const recovery = new Recovery({ detectMs });
  let now = 0;
  const waited: number[] = [];
  for (let loss = 1; loss <= 9; loss++) {
    recovery.protects(now);
    now += minute;
    recovery.givenUp(now);
    t.equal(recovery.losses, loss);
    const from = now;
    now = standsBy(recovery, now);
    waited.push((now - from) / second);
  }
  t.strictSame(waited, [2, 10, 20, 40, 80, 160, 320, 600, 600]);
  recovery.protects(now);
  recovery.givenUp(now + 10 * minute);
  t.equal(recovery.losses, 1, 'ten minutes of protection were no mistake');
  t.equal(recovery.left(now + 10 * minute), 2 * second);
  t.end();
});

test('an overload costs one failover, however often it lets go for a moment', (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const below = randomNumbers(seed);
    const overload = repeated(100, () => ({ runsMs: below(1900), starvedMs: 150 + below(3000) }));
    const pattern = [{ runsMs: minute, starvedMs: 1000 }, ...overload, { runsMs: minute, starvedMs: 0 }];
    t.equal(lossesOf(pattern).length, 1, `seed ${seed}`);
  }
  t.end();
});

test('whatever a host does, its pair does not flap', (t) => {
  let most = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const below = randomNumbers(seed);
    const longest = [3, 30, 300, 1200][below(4)] as number;
    const losses = lossesOf(repeated(300, () => ({ runsMs: below(longest * second), starvedMs: below(1000) })));
    const inTenMinutes = losses.map(
      (from, index) => losses.slice(index).filter((at) => at < from + 10 * minute).length,
    );
    most = Math.max(most, ...inTenMinutes);
  }
  t.ok(most <= 7, `${most} failovers in ten minutes`);
  t.ok(most >= 5, `${most} were seen: patterns that do not ask for failovers would prove nothing`);
  const always = lossesOf(repeated(40_000, () => ({ runsMs: 3 * second, starvedMs: 500 })));
  const late = always.filter((at) => at > 60 * minute);
  t.ok((always.at(-1) as number) > 20 * 60 * minute);
  t.ok(
    late.every((at, index) => index === 0 || at - (late[index - 1] as number) > 10 * minute),
    'one in ten minutes',
  );
  t.end();
});
