import { test } from 'tap';
import {
  type ClockLook,
  complaints,
  type GuestReport,
  parseReport,
  type TortureResult,
} from '../../../tools/torture/report.ts';

const before: GuestReport = {
  sums: [10, 20],
  clockRounds: 50,
  longestRoundMs: 90,
  disks: 1,
  sectorsWritten: 1000,
  wrong: ['kernel: it was so before'],
};

const after: GuestReport = { ...before, sums: [30, 40], clockRounds: 90, sectorsWritten: 2000 };

const clockBefore: ClockLook = { guestMs: 100_000, hostMs: 5_000, errorMs: 200 };
const clockAfter: ClockLook = { guestMs: 150_000, hostMs: 65_000, errorMs: 100 };

const good: TortureResult = {
  rounds: 5,
  stoppedMs: 10_000,
  longestStopMs: 4000,
  longestJumpMs: 3000,
  echoedBytes: 4096,
  pings: { sent: 60, received: 50, doubled: 0 },
  before: { ...before, clock: clockBefore },
  after: { ...after, clock: clockAfter },
};

test('a guest that has come further in everything is not complained of', async (t) => {
  t.strictSame(complaints(good, 100), []);
});

for (const [what, result, complaint] of [
  ['a new fault', { after: { ...good.after, wrong: [...before.wrong, 'fio: bad'] } }, 'fio: bad'],
  ['a stuck processor', { after: { ...good.after, sums: [30, 20] } }, 'a processor came no further'],
  ['a stuck loop', { after: { ...good.after, clockRounds: 50 } }, 'the clock loop came no further'],
  [
    'a loop that stood still',
    { after: { ...good.after, longestRoundMs: 13_001 } },
    'a loop that sleeps 50 ms did not run for 13001 ms',
  ],
  ['no disk', { after: { ...good.after, disks: 0 } }, 'fio ended'],
  ['a stuck disk', { after: { ...good.after, sectorsWritten: 1000 } }, 'the disk came no further'],
  ['no echo', { echoedBytes: 0 }, 'nothing was echoed'],
  ['no answer', { pings: { sent: 60, received: 0, doubled: 0 } }, 'no ping was answered'],
  ['answers twice', { pings: { sent: 60, received: 50, doubled: 2 } }, '2 pings were answered twice'],
  [
    'a clock that is late',
    { after: { ...good.after, clock: { ...clockAfter, hostMs: 65_401 } } },
    "the guest's clock is off by -401 ms, 300 ms more or less",
  ],
] as const) {
  test(`complains of ${what}`, async (t) => {
    t.strictSame(complaints({ ...good, ...result }, 100), [complaint]);
  });
}

test('a clock is not late by what the guest took to tell it', async (t) => {
  t.strictSame(complaints({ ...good, after: { ...good.after, clock: { ...clockAfter, hostMs: 65_399 } } }, 100), []);
});

test('reads what the guest tells, and refuses half of it', async (t) => {
  const text = 'clock 50 9\ncpu-0 10\ncpu-1 20\nfio 1 1000\nwrong kernel: it was so before\nend\n';
  t.strictSame(parseReport(text), before);
  t.throws(() => parseReport(text.slice(0, -5)), /report is cut/);
});
