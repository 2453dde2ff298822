import { test } from 'tap';
import { defaultSettings } from '../../../../src/colo/core/settings.ts';
import { StandbyPace } from '../../../../src/colo/disk/standby-pace.ts';

/** A heartbeat each 50 ms. @param waited the guest, when so many had come */
function beats(
  count: number,
  waited: (nth: number) => boolean,
  pace = new StandbyPace(defaultSettings.heartbeatMs),
  from = 0,
): StandbyPace {
  for (let nth = 0; nth < count; nth++) pace.heard(from + nth * 50, waited(nth), (from / 50 + nth) * 1000);
  return pace;
}

test('a standby is slow while the guest waits for it, a part of the time that is worth a word', async (t) => {
  t.equal(beats(1, () => true).slow, undefined, 'nothing is known yet');
  t.equal(beats(50, () => true).slow, undefined, 'it may be a burst');
  t.same(beats(300, () => true).slow, { share: 1, bytesPerSecond: 20_000 });
  t.match(beats(300, (nth) => nth % 2 === 1).slow, { share: 0.5 });
  t.equal(beats(300, (nth) => nth % 10 === 0).slow, undefined);
});

test('what was before the last seconds is forgotten', async (t) => {
  const pace = beats(300, () => true);
  beats(210, () => false, pace, 300 * 50);
  t.equal(pace.slow, undefined);
});

test('nothing is concluded from a time of which nobody heard', async (t) => {
  for (const laterMs of [5000, -100_000]) {
    const pace = beats(300, () => true);
    pace.heard(300 * 50 + laterMs, true, 300_000);
    t.equal(pace.slow, undefined);
  }
});

test('heartbeats that are rare are waited for', async (t) => {
  const pace = new StandbyPace(2000);
  for (let nth = 0; nth < 5; nth++) pace.heard(nth * 2400, true, nth * 2400);
  t.same(pace.slow, { share: 1, bytesPerSecond: 1000 });
  pace.heard(4 * 2400 + 2600, true, 20_000);
  t.equal(pace.slow, undefined, 'one is missing');
});
