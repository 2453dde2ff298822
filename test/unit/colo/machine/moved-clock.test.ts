import { test } from 'tap';
import { movedClock } from '../../../../src/colo/machine/moved-clock.ts';

const clock = {
  kvmclockNs: 5_000_000_000n,
  realtimeNs: 1_700_000_000_000_000_000n,
  tscKhz: 2_400_000,
  tsc: [100n, 0n],
};

test('all clocks go as far', async (t) => {
  t.strictSame(movedClock(clock, 1500.25), {
    kvmclockNs: 6_500_250_000n,
    realtimeNs: 1_700_000_001_500_250_000n,
    tscKhz: 2_400_000,
    tsc: [100n + 3_600_600_000n, 3_600_600_000n],
  });
});

test('time never runs backwards', async (t) => {
  for (const ms of [0, -5, Number.NaN, Number.POSITIVE_INFINITY, -0.1]) t.strictSame(movedClock(clock, ms), clock);
});

test('counters of a stranger wrap, as a processor’s do', async (t) => {
  const last = 2n ** 64n - 1n;
  const wild = { kvmclockNs: last, realtimeNs: last, tscKhz: 2 ** 32 - 1, tsc: [last] };
  const moved = movedClock(wild, 1);
  t.equal(moved.kvmclockNs, 999_999n);
  t.equal(moved.tsc[0], BigInt(2 ** 32 - 1) - 1n);
});
