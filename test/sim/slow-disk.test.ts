import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explain } from '../../tools/sim/report.ts';

const schedules = process.env.CI === 'true' ? 200 : 40;

test('a guest that writes more than the disk of its standby takes is protected in time, and waits no longer than it takes', async (t) => {
  const { totals, violating } = runSeeds(1, schedules, 'slow-disk');
  for (const line of totals.lines()) t.comment(line);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
  const expected = [
    'the guest waits for room in the disk log',
    'the standby is killed: protected',
    'the standby is killed: synchronising',
    "the standby's disk hangs: protected",
    'copies of less than a disk',
    'in the end: protected',
    'in the end: unprotected',
    'primary ending/idle',
    'in the end: ended',
  ];
  t.same(
    expected.filter((name) => !totals.counts.has(name)),
    [],
    'what was never reached was not tested',
  );
});

test('so it is where the guest of the standby runs, and waits for that disk at each checkpoint', async (t) => {
  const { totals, violating } = runSeeds(1, schedules, 'slow-disk', {}, true);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
  const expected = [
    "the standby's disk hangs: protected",
    'secondary seeding/starting',
    'secondary protecting/starting',
    'mode: buffered',
    'released by comparison',
    'in the end: ended',
    'in the end: protected',
    'in the end: unprotected',
  ];
  t.same(
    expected.filter((name) => !totals.counts.has(name)),
    [],
    'what was never reached was not tested',
  );
});
