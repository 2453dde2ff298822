import t from 'tap';
import { planRounds } from '../../../../../tools/chaos/lab/campaign.ts';
import { labFaults, moments } from '../../../../../tools/chaos/lab/faults.ts';

t.test('a seed gives the same rounds again', async (t) => {
  const plan = (seed: number) => planRounds({ rounds: 40, seed, faults: '' });
  t.same(plan(7), plan(7));
  t.notSame(plan(7), plan(8));
});

t.test('a few rounds are the first ones of many', async (t) => {
  t.same(planRounds({ rounds: 3, seed: 7, faults: '' }), planRounds({ rounds: 30, seed: 7, faults: '' }).slice(0, 3));
});

t.test('each fault comes once before any comes again, at each moment in turn, on either host', async (t) => {
  const plans = planRounds({ rounds: labFaults.length, seed: 3, faults: '' });
  t.equal(new Set(plans.map(({ fault }) => fault.name)).size, labFaults.length);
  for (let at = 0; at + moments.length <= plans.length; at += moments.length) {
    t.equal(new Set(plans.slice(at, at + moments.length).map(({ moment }) => moment)).size, moments.length);
  }
  t.same([...new Set(plans.map(({ primary }) => primary))].sort(), ['a', 'b']);
});

t.test('faults can be chosen by a word of their names, which some must have', async (t) => {
  for (const { fault } of planRounds({ rounds: 20, seed: 1, faults: 'power' })) t.match(fault.name, /power/);
  t.throws(() => planRounds({ rounds: 1, seed: 1, faults: 'earthquake' }), /no fault is called "earthquake"/);
});
