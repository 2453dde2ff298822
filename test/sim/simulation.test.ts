import { test } from 'tap';
import { huntMutants, runSeeds } from '../../tools/sim/campaign.ts';
import { explore } from '../../tools/sim/exhaustive.ts';
import { mutants } from '../../tools/sim/mutants.ts';
import { randomSchedule } from '../../tools/sim/random-schedule.ts';
import { explain, Totals } from '../../tools/sim/report.ts';
import { runSchedule } from '../../tools/sim/run.ts';
import { shrink } from '../../tools/sim/shrink.ts';

const inCi = process.env.CI === 'true';
const schedules = inCi
  ? { safety: 100_000, liveness: 20_000, mutants: 10_000 }
  : { safety: 4000, liveness: 1000, mutants: 300 };

for (const mode of ['safety', 'liveness'] as const) {
  test(`no invariant breaks in ${mode} schedules, and all that can go wrong did`, async (t) => {
    const { totals, violating } = runSeeds(1, schedules[mode], mode);
    for (const line of totals.lines()) t.comment(line);
    t.equal(violating === undefined ? '' : explain(violating).join('\n'), '');
    if (mode === 'safety') t.same(totals.missing(), [], 'what was never reached was not tested');
  });
}

test('no single fault breaks the small model, before whichever effect it strikes', async (t) => {
  const found = explore(inCi ? 60_000 : 1, new Totals());
  t.equal(found.violating === undefined ? '' : explain(found.violating).join('\n'), '');
  t.ok(found.single > 1000);
});

test('a rule of the specification that is broken is noticed', async (t) => {
  let caught = 0;
  for (const { mutant, after, by } of huntMutants(1, schedules.mutants)) {
    t.comment(`${mutant.name}: ${after ?? 'not caught'} (${by})`);
    if (after !== undefined) caught++;
    // A few take thousands of schedules: the quick run does not have them.
    else if (inCi && mutant.rare === undefined)
      t.fail(`${mutant.name} is not noticed in ${schedules.mutants} schedules`);
  }
  t.ok(mutants.length >= 15);
  t.ok(caught >= 15, `${caught} are caught`);
});

test('the same seed gives the same run, and a violation is shrunk to what it takes', async (t) => {
  const schedule = randomSchedule(5, 'safety');
  const [one, other]: [string[], string[]] = [[], []];
  runSchedule(schedule, { history: one });
  runSchedule(schedule, { history: other });
  t.same(one, other);
  t.ok(one.length > 20);
  const [first] = huntMutants(1, 500);
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
