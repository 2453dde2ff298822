import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explain } from '../../tools/sim/report.ts';

const schedules = process.env.CI === 'true' ? 300 : 60;

test('a host that is starved costs few failovers, and its pair is one again in the end', async (t) => {
  const { totals, violating } = runSeeds(1, schedules, 'overload');
  for (const line of totals.lines()) t.comment(line);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
  const expected = [
    'starved of processor: primary',
    'starved of processor: secondary',
    'starved of processor and disk: secondary',
    'starved of link: secondary',
    'a standby stands by again',
    'survivor: primary',
    'survivor: secondary',
    'overload of processor: 1 failovers',
  ];
  t.same(
    expected.filter((name) => !totals.counts.has(name)),
    [],
    'what was never reached was not tested',
  );
});
