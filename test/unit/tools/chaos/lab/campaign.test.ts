import t from 'tap';
import type { Mode } from '../../../../../src/colo/protocol/numbers.ts';
import { type LabCampaignOptions, planRounds } from '../../../../../tools/chaos/lab/campaign.ts';
import { labFaults, moments } from '../../../../../tools/chaos/lab/faults.ts';
import { labTroubles } from '../../../../../tools/chaos/lab/troubles.ts';

const modes: readonly Mode[] = ['comparing', 'buffered'];
const planned = (
  options: Pick<LabCampaignOptions, 'rounds' | 'seed' | 'life'> & Partial<Pick<LabCampaignOptions, 'faults' | 'modes'>>,
) => planRounds({ faults: '', modes, ...options });

t.test('a seed gives the same rounds again', async (t) => {
  const plan = (seed: number) => planned({ rounds: 40, seed, life: 3 });
  t.same(plan(7), plan(7));
  t.notSame(plan(7), plan(8));
});

t.test('a few rounds are the first ones of many', async (t) => {
  t.same(planned({ rounds: 3, seed: 7, life: 3 }), planned({ rounds: 30, seed: 7, life: 3 }).slice(0, 3));
});

t.test('each fault comes once before any comes again, at each moment in turn', async (t) => {
  const plans = planned({ rounds: labFaults.length, seed: 3, life: 3 });
  t.equal(new Set(plans.map(({ fault }) => fault.name)).size, labFaults.length);
  for (let at = 0; at + moments.length <= plans.length; at += moments.length) {
    t.equal(new Set(plans.slice(at, at + moments.length).map(({ moment }) => moment)).size, moments.length);
  }
});

t.test('faults can be chosen by a word of their names, which some must have', async (t) => {
  for (const { fault } of planned({ rounds: 20, seed: 1, faults: 'power', life: 1 })) t.match(fault.name, /power/);
  t.throws(() => planned({ rounds: 1, seed: 1, faults: 'earthquake', life: 1 }), /no fault is called "earthquake"/);
});

t.test('a guest lives through some rounds, and begins on either host', async (t) => {
  const plans = planned({ rounds: 30, seed: 3, life: 3 });
  const first = plans.filter((_, index) => index % 3 === 0).map(({ newGuest }) => newGuest?.primary);
  t.same([...new Set(first)].sort(), ['a', 'b']);
  t.ok(plans.every(({ newGuest }, index) => (index % 3 === 0) === (newGuest !== undefined)));
});

t.test('guests take turns of modes, and are of each kind before any comes again', async (t) => {
  const guests = planned({ rounds: 8, seed: 3, life: 1 }).flatMap(({ newGuest }) => newGuest ?? []);
  t.same(
    guests.map(({ mode }) => mode),
    guests.map((_, index) => modes[index % 2]),
  );
  for (let at = 0; at < guests.length; at += 2) {
    const [one, other] = guests.slice(at, at + 2);
    t.not(one?.cpus, other?.cpus);
    t.not(one?.hasOffloads, other?.hasOffloads);
    t.not(one?.isIpv6First, other?.isIpv6First);
  }
});

t.test('a mode can be the only one', async (t) => {
  const guests = planned({ rounds: 4, seed: 3, life: 1, modes: ['buffered'] }).map(({ newGuest }) => newGuest?.mode);
  t.same(guests, ['buffered', 'buffered', 'buffered', 'buffered']);
});

t.test('each trouble comes once before any comes again, between rounds of a guest', async (t) => {
  const plans = planned({ rounds: 2 * labTroubles.length, seed: 3, life: 2 });
  const between = plans.flatMap(({ trouble }) => trouble?.trouble.name ?? []);
  t.equal(between.length, labTroubles.length);
  t.equal(new Set(between).size, labTroubles.length);
  t.ok(plans.every(({ newGuest, trouble }) => (newGuest === undefined) !== (trouble === undefined)));
});

t.test('troubles come in all parts of a copy, and for less and for more than a loss takes to be noticed', async (t) => {
  const troubles = planned({ rounds: 120, seed: 3, life: 2 }).flatMap(({ trouble }) => trouble ?? []);
  t.same(
    [...new Set(troubles.map(({ at }) => at.comparedPercent))].sort((one, other) => one - other),
    [0, 20, 40, 60, 80, 100],
  );
  t.ok(new Set(troubles.map(({ at }) => at.thenMs)).size > 30);
  t.ok(troubles.some(({ lastsMs }) => lastsMs < 4000));
  t.ok(troubles.some(({ lastsMs }) => lastsMs > 8000));
});

t.test("either side's clock is stepped, while the guest is protected and while it becomes so", async (t) => {
  const plans = planned({ rounds: 80, seed: 3, life: 2 });
  for (const side of ['primary', 'standby']) {
    t.ok(plans.some(({ fault }) => fault.name === `the ${side}'s clock is stepped`));
    t.ok(plans.some(({ trouble }) => trouble?.trouble.name === `the ${side}'s clock stepped`));
  }
});
