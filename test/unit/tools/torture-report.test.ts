import { test } from 'tap';
import { complaints, type GuestReport, parseReport, type TortureResult } from '../../../tools/torture/report.ts';

const before: GuestReport = {
  uptimeSeconds: 100,
  sums: [10, 20],
  clockRounds: 50,
  longestRoundMs: 90,
  disks: 1,
  sectorsWritten: 1000,
  wrong: ['kernel: it was so before'],
};

const after: GuestReport = { ...before, uptimeSeconds: 150, sums: [30, 40], clockRounds: 90, sectorsWritten: 2000 };

const good: TortureResult = {
  rounds: 5,
  stoppedMs: 10_000,
  longestStopMs: 4000,
  longestJumpMs: 3000,
  elapsedMs: 60_000,
  echoedBytes: 4096,
  pings: { sent: 60, received: 50, doubled: 0 },
  before,
  after,
};

test('a guest that has come further in everything is not complained of', async (t) => {
  t.strictSame(complaints(good, 100), []);
});

for (const [what, result, complaint] of [
  ['a new fault', { after: { ...after, wrong: [...before.wrong, 'fio: bad'] } }, 'fio: bad'],
  ['a stuck processor', { after: { ...after, sums: [30, 20] } }, 'a processor came no further'],
  ['a stuck loop', { after: { ...after, clockRounds: 50 } }, 'the clock loop came no further'],
  [
    'a loop that stood still',
    { after: { ...after, longestRoundMs: 13_001 } },
    'a loop that sleeps 50 ms did not run for 13001 ms',
  ],
  ['no disk', { after: { ...after, disks: 0 } }, 'fio ended'],
  ['a stuck disk', { after: { ...after, sectorsWritten: 1000 } }, 'the disk came no further'],
  ['no echo', { echoedBytes: 0 }, 'nothing was echoed'],
  ['no answer', { pings: { sent: 60, received: 0, doubled: 0 } }, 'no ping was answered'],
  ['answers twice', { pings: { sent: 60, received: 50, doubled: 2 } }, '2 pings were answered twice'],
  ['a clock that is late', { elapsedMs: 61_000 }, "the guest's clock is off by -1000 ms"],
] as const) {
  test(`complains of ${what}`, async (t) => {
    t.strictSame(complaints({ ...good, ...result }, 100), [complaint]);
  });
}

test('reads what the guest tells, and refuses half of it', async (t) => {
  const text = 'clock 50 9\ncpu-0 10\ncpu-1 20\nfio 1 1000\nwrong kernel: it was so before\nuptime 100\nend\n';
  t.strictSame(parseReport(text), before);
  t.throws(() => parseReport(text.slice(0, -5)), /report is cut/);
});
