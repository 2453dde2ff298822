import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explore } from '../../tools/sim/exhaustive.ts';
import { huntMutants } from '../../tools/sim/jobs/campaigns.ts';
import { randomSchedule } from '../../tools/sim/random-schedule.ts';
import { explain, Totals } from '../../tools/sim/report.ts';
import { runSchedule } from '../../tools/sim/run.ts';
import { shrink } from '../../tools/sim/shrink.ts';

const inCi = process.env.CI === 'true';

test('somebody serves in time in liveness schedules, and no invariant breaks', async (t) => {
  const { totals, violating } = runSeeds(1, inCi ? 20_000 : 1000, 'liveness');
  for (const line of totals.lines()) t.comment(line);
  t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
});

test('no single fault breaks the small model, before whichever effect it strikes', async (t) => {
  const found = explore(inCi ? 60_000 : 1, new Totals());
  t.equal(found.violating === undefined ? '' : explain(found.violating).join('\n'), '');
  t.ok(found.single > 1000);
});

test('the same seed gives the same run, and a violation is shrunk to what it takes', async (t) => {
  const schedule = randomSchedule(5, 'safety');
  const [one, other]: [string[], string[]] = [[], []];
  runSchedule(schedule, { history: one });
  runSchedule(schedule, { history: other });
  t.same(one, other);
  t.ok(one.length > 20);
  const { value: first } = await huntMutants(1, 500).next();
  t.ok(first?.after !== undefined);
  t.same(shrink(schedule), schedule, 'a schedule that breaks nothing stays as it is');
});

test('frames as bytes through the codec change nothing', async (t) => {
  const schedule = randomSchedule(3, 'safety');
  const [objects, bytes]: [string[], string[]] = [[], []];
  runSchedule({ ...schedule, asBytes: false }, { history: objects });
  runSchedule({ ...schedule, asBytes: true }, { history: bytes });
  t.same(objects, bytes);
});
