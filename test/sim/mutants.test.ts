import { test } from 'tap';
import { huntMutants } from '../../tools/sim/jobs/campaigns.ts';
import { mutants } from '../../tools/sim/mutants.ts';

const inCi = process.env.CI === 'true';
const schedules = inCi ? 10_000 : 300;

test('a rule of the specification that is broken is noticed', async (t) => {
  let caught = 0;
  for await (const { mutant, after, by } of huntMutants(1, schedules)) {
    t.comment(`${mutant.name}: ${after ?? 'not caught'} (${by})`);
    if (after !== undefined) caught++;
    // A few take thousands of schedules: the quick run does not have them.
    else if (inCi && mutant.rare === undefined) t.fail(`${mutant.name} is not noticed in ${schedules} schedules`);
  }
  t.ok(mutants.length >= 15);
  t.ok(caught >= 15, `${caught} are caught`);
});
