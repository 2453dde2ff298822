import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explain } from '../../tools/sim/report.ts';

const inCi = process.env.CI === 'true';

test('no invariant breaks where both guests run, and what that is about did happen', async (t) => {
  const { totals, violating } = runSeeds(1, inCi ? 40_000 : 2000, 'safety', {}, true);
  for (const line of totals.lines()) t.comment(line);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
  for (const what of [
    ...['released by comparison', 'divergences', 'takeovers of a guest that ran', 'takeovers'],
    ...['mode: comparing', 'mode: buffered', 'secondary protecting/starting', 'switched over'],
    'takeovers in the first epoch that was compared',
  ]) {
    t.ok((totals.counts.get(what) ?? 0) > 0, what);
  }
});

test('somebody serves in time where both guests run', async (t) => {
  const { violating } = runSeeds(1, inCi ? 10_000 : 500, 'liveness', {}, true);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
});
