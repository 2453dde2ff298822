import { test } from 'tap';
import { formatRoundTrip, roundTripResult } from '../../../../../tools/bench/peer/round-trip.ts';

const trip = (median: number, p99 = 1000) => ({ median, p99 });

test('what is added is taken round by round, and held against what is wanted', async (t) => {
  const result = roundTripResult(
    {
      alone: [trip(10), trip(100), trip(20)],
      tls: [trip(161), trip(251), trip(171)],
      plaintext: [trip(110, 900), trip(240), trip(121)],
    },
    3,
  );
  t.match(result.added, [
    { ratio: 151, met: false },
    { ratio: 101, met: true },
  ]);
  t.same(result.trips.plaintext, { median: 121, p99: 1000 });
  t.match(formatRoundTrip(result), /NO +µs .* tls +151 +at most 150/);
});
