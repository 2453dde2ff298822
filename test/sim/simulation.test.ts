import { test } from 'tap';
import { runSeeds } from '../../tools/sim/campaign.ts';
import { explore } from '../../tools/sim/exhaustive.ts';
import { faultKinds } from '../../tools/sim/faults.ts';
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

for (const compares of [false, true]) {
  const model = compares ? 'the small model of two guests that run' : 'the small model';
  test(`no single fault breaks ${model}, before whichever effect it strikes`, async (t) => {
    const totals = new Totals();
    const found = explore(inCi ? 30_000 : 1, totals, compares);
    t.equal(found.violating === undefined ? '' : explain(found.violating).join('\n'), '');
    t.ok(found.single > 3000);
    for (const fault of Object.keys(faultKinds)) t.ok((totals.counts.get(`fault: ${fault}`) ?? 0) > 50, fault);
    t.equal(totals.counts.has('mode: comparing'), compares);
  });
}

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
