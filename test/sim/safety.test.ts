import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explain } from '../../tools/sim/report.ts';

const schedules = process.env.CI === 'true' ? 100_000 : 4000;

test('no invariant breaks in safety schedules, and all that can go wrong did', async (t) => {
  const { totals, violating } = runSeeds(1, schedules, 'safety');
  for (const line of totals.lines()) t.comment(line);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
  t.same(totals.missing(), [], 'what was never reached was not tested');
});
