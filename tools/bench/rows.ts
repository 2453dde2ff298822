import type { Host } from '../lab/host.ts';
import { type BenchGuest, withBenchGuests } from './bench-guest.ts';

/** Work that a guest did: how many requests in how many seconds. */
export interface Work {
  readonly requests: number;
  readonly seconds: number;
  /** Requests that the VMM carried but the figure leaves out, such as a warm-up. */
  readonly uncounted?: number;
}

/** One line of a benchmark's table. */
export interface Row {
  readonly name: string;
  /** What one request is; figures are these a second. */
  readonly request: string;
  /** Requests that CPU times are given for, so that they are of the same work whoever was faster. */
  readonly nominal: number;
  /** Has the guest do the work. The VMM is watched only as long as this takes. */
  run(guest: BenchGuest): Promise<void>;
  /** What was done. */
  result(guest: BenchGuest): Promise<Work>;
}

/** What one VMM showed in one row of one round. */
export interface Measurement {
  readonly perSecond: number;
  readonly cpuSeconds: number;
  readonly exitsPerRequest: number;
  readonly mmioExitsPerRequest: number;
}

/** Measurements in the order of rounds, by row and contestant. */
export type Measurements<C extends string> = ReadonlyMap<string, Readonly<Record<C, readonly Measurement[]>>>;

export interface RowsOrder<C extends string> {
  readonly host: Host;
  /** Command lines of VMMs, measured in turn. */
  readonly contestants: Readonly<Record<C, readonly string[]>>;
  readonly rows: readonly Row[];
  readonly rounds: number;
  /** Readies a guest that has just booted. */
  readonly setUp: (guest: BenchGuest) => Promise<void>;
  readonly progress: (line: string) => void;
}

/** Boots each contestant's guest and has them do all rows, `rounds` times, one contestant right after the other. */
export async function runRows<C extends string>(order: RowsOrder<C>): Promise<Measurements<C>> {
  const { host, contestants, rows, rounds, setUp, progress } = order;
  const names = Object.keys(contestants) as C[];
  const empty = () => Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<C, Measurement[]>;
  const measurements = new Map(rows.map((row) => [row.name, empty()]));
  await withBenchGuests(host, contestants, async (guests) => {
    for (const guest of guests.values()) await setUp(guest);
    for (let round = 1; round <= rounds; round++) {
      for (const row of rows) {
        for (const [name, guest] of rotated([...guests], round - 1)) {
          const measurement = await measureRow(row, guest);
          measurements.get(row.name)?.[name].push(measurement);
          progress(`round ${round}: ${row.name}: ${name} ${measurement.perSecond.toFixed(0)} ${row.request}/s`);
        }
      }
    }
  });
  return measurements;
}

/** Another contestant begins in each round: who runs first finds another host than who runs last. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

async function measureRow(row: Row, guest: BenchGuest): Promise<Measurement> {
  // What earlier rows left to be written must not fall into this one.
  await guest.host.run(['sync']);
  const before = await guest.usage();
  await row.run(guest);
  const after = await guest.usage();
  const { requests, seconds, uncounted = 0 } = await row.result(guest);
  const carried = requests + uncounted;
  return {
    perSecond: requests / seconds,
    cpuSeconds: ((after.cpuSeconds - before.cpuSeconds) * row.nominal) / carried,
    exitsPerRequest: (after.exits - before.exits) / carried,
    mmioExitsPerRequest: (after.mmioExits - before.mmioExits) / carried,
  };
}
