import t from 'tap';
import type { BenchGuest } from '../../../../tools/bench/bench-guest.ts';
import { measureRounds, type Row } from '../../../../tools/bench/rows.ts';
import type { GuestSession } from '../../../../tools/guest-session.ts';
import type { Host } from '../../../../tools/lab/host.ts';

type Spend = (guest: BenchGuest, cpuSeconds: number, exits: number, mmioExits: number) => void;

/** Guests that do nothing by themselves; `spend` has the VMM of one use something. */
function fakes(names: readonly string[]): { guests: Map<string, BenchGuest>; spend: Spend } {
  const used = new Map(names.map((name) => [name, { cpuSeconds: 100, exits: 1000, mmioExits: 500 }]));
  const spend: Spend = (guest, cpuSeconds, exits, mmioExits) => {
    const total = used.get(guest.name) ?? { cpuSeconds: 0, exits: 0, mmioExits: 0 };
    used.set(guest.name, {
      cpuSeconds: total.cpuSeconds + cpuSeconds,
      exits: total.exits + exits,
      mmioExits: total.mmioExits + mmioExits,
    });
  };
  const guests = names.map((name): [string, BenchGuest] => [
    name,
    {
      name,
      host: { run: async () => ({ status: 0, signal: null, stdout: '', stderr: '' }) } as unknown as Host,
      session: {} as GuestSession,
      usage: async () => used.get(name) ?? { cpuSeconds: 0, exits: 0, mmioExits: 0 },
    },
  ]);
  return { guests: new Map(guests), spend };
}

const silent = (): void => {};

t.test('each row is done by all, one right after the other, and another begins in each round', async (t) => {
  const { guests } = fakes(['ours', 'a', 'b']);
  const log: string[] = [];
  const row = (name: string): Row => ({
    name,
    request: 'requests',
    nominal: 1,
    run: async (guest) => void log.push(`${name} ${guest.name}`),
    result: async () => ({ requests: 1, seconds: 1 }),
  });
  await measureRounds(guests, { rows: [row('x'), row('y')], rounds: 2, progress: silent });
  t.strictSame(log, [
    ...['x ours', 'x a', 'x b', 'y ours', 'y a', 'y b'],
    ...['x a', 'x b', 'x ours', 'y a', 'y b', 'y ours'],
  ]);
});

t.test('what was used is for the nominal work and for each request, without what is done besides', async (t) => {
  const { guests, spend } = fakes(['ours']);
  const row: Row = {
    name: 'x',
    request: 'requests',
    nominal: 1000,
    run: async (guest) => spend(guest, 5, 900, 420),
    // Looking at the result is not part of the work.
    result: async (guest) => {
      spend(guest, 50, 50_000, 50_000);
      return { requests: 150, seconds: 3, uncounted: 50 };
    },
  };
  const besides = async (guest: BenchGuest): Promise<void> => spend(guest, 1, 100, 20);
  const measurements = await measureRounds(guests, { rows: [row], rounds: 2, besides, progress: silent });
  const expected = { perSecond: 50, cpuSeconds: 20, exitsPerRequest: 4, mmioExitsPerRequest: 2 };
  t.strictSame(measurements.get('x'), { ours: [expected, expected] });
});

t.test('nothing is used less than not at all', async (t) => {
  const { guests, spend } = fakes(['ours']);
  const row: Row = {
    name: 'x',
    request: 'requests',
    nominal: 1,
    run: async () => {},
    result: async () => ({ requests: 1, seconds: 1 }),
  };
  const besides = async (guest: BenchGuest): Promise<void> => spend(guest, 1, 1, 1);
  const measurements = await measureRounds(guests, { rows: [row], rounds: 1, besides, progress: silent });
  t.match(measurements.get('x')?.ours, [{ cpuSeconds: 0, exitsPerRequest: 0, mmioExitsPerRequest: 0 }]);
});

t.test('a round that warms up is run and does not count', async (t) => {
  const { guests } = fakes(['ours']);
  let runs = 0;
  const row: Row = {
    name: 'x',
    request: 'requests',
    nominal: 1,
    run: async () => {
      runs++;
    },
    result: async () => ({ requests: runs, seconds: 1 }),
  };
  const measurements = await measureRounds(guests, { rows: [row], rounds: 2, warmUp: true, progress: silent });
  t.match(measurements.get('x')?.ours, [{ perSecond: 2 }, { perSecond: 3 }]);
  t.equal(measurements.get('x')?.ours?.length, 2);
});
