import t from 'tap';
import { planRounds } from '../../../../../tools/chaos/lab/campaign.ts';
import { labFaults, moments } from '../../../../../tools/chaos/lab/faults.ts';
import { labTroubles, noTrouble } from '../../../../../tools/chaos/lab/troubles.ts';

t.test('a seed gives the same rounds again', async (t) => {
  const plan = (seed: number) => planRounds({ rounds: 40, seed, faults: '', life: 3 });
  t.same(plan(7), plan(7));
  t.notSame(plan(7), plan(8));
});

t.test('a few rounds are the first ones of many', async (t) => {
  t.same(
    planRounds({ rounds: 3, seed: 7, faults: '', life: 3 }),
    planRounds({ rounds: 30, seed: 7, faults: '', life: 3 }).slice(0, 3),
  );
});

t.test('each fault comes once before any comes again, at each moment in turn', async (t) => {
  const plans = planRounds({ rounds: labFaults.length, seed: 3, faults: '', life: 3 });
  t.equal(new Set(plans.map(({ fault }) => fault.name)).size, labFaults.length);
  for (let at = 0; at + moments.length <= plans.length; at += moments.length) {
    t.equal(new Set(plans.slice(at, at + moments.length).map(({ moment }) => moment)).size, moments.length);
  }
});

t.test('faults can be chosen by a word of their names, which some must have', async (t) => {
  for (const { fault } of planRounds({ rounds: 20, seed: 1, faults: 'power', life: 1 })) t.match(fault.name, /power/);
  t.throws(() => planRounds({ rounds: 1, seed: 1, faults: 'earthquake', life: 1 }), /no fault is called "earthquake"/);
});

t.test('a guest lives through some rounds, and begins on either host', async (t) => {
  const plans = planRounds({ rounds: 30, seed: 3, faults: '', life: 3 });
  const first = plans.filter((_, index) => index % 3 === 0).map(({ newPrimary }) => newPrimary);
  t.same([...new Set(first)].sort(), ['a', 'b']);
  t.ok(plans.every(({ newPrimary }, index) => index % 3 === 0 || newPrimary === undefined));
});

t.test('each trouble comes once before any comes again, between rounds of a guest', async (t) => {
  const plans = planRounds({ rounds: 2 * labTroubles.length, seed: 3, faults: '', life: 2 });
  const between = plans.filter(({ newPrimary }) => newPrimary === undefined).map(({ trouble }) => trouble.name);
  t.equal(new Set(between).size, labTroubles.length);
  t.ok(plans.every(({ newPrimary, trouble }) => newPrimary === undefined || trouble === noTrouble));
});
