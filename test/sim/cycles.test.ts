import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explain } from '../../tools/sim/report.ts';

const schedules = process.env.CI === 'true' ? 2000 : 150;

test('no invariant breaks in a guest that lives through many pairs, and it is protected in the end', async (t) => {
  const { totals, violating } = runSeeds(1, schedules, 'cycles');
  for (const line of totals.lines()) t.comment(line);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
  const expected = [
    'pairs of a survivor, with the repaired machine',
    'pairs of a survivor, with a new machine',
    'pairs beside a former side that is frozen or fenced',
    'loss: secondary loses its power',
    'copies of what may differ',
    'copies of less than a disk',
    'copies that go on where they were',
    'loss: the connection breaks',
    'marks forgotten',
    'a second standby is turned away: protected',
    'a second standby is taken: unprotected',
    'a second standby is taken: connecting',
    'survivor: primary',
    'survivor: secondary',
    'switched over',
    'liveness: protected in the end',
  ];
  t.same(
    expected.filter((name) => !totals.counts.has(name)),
    [],
    'what was never reached was not tested',
  );
});
