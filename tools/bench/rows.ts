import type { Host } from '../lab/host.ts';
import { type BenchGuest, withBenchGuests } from './bench-guest.ts';
import type { Usage } from './usage.ts';

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
  /**
   * One round more, before the others, does not count (default: none). Ours is compiled while it runs, and in an emulated
   * host that takes as long as a row; a machine is at it for a second of its life.
   */
  readonly warmUp?: boolean;
  /** Readies a guest that has just booted. */
  readonly setUp: (guest: BenchGuest) => Promise<void>;
  /** What a row has the guest do besides its work, such as starting a program: not counted as used for the work. */
  readonly besides?: (guest: BenchGuest) => Promise<void>;
  readonly progress: (line: string) => void;
}

/** Boots each contestant's guest, all in the same host, and has them do all rows. */
export async function runRows<C extends string>(order: RowsOrder<C>): Promise<Measurements<C>> {
  return withBenchGuests(order.host, order.contestants, async (guests) => {
    for (const guest of guests.values()) await order.setUp(guest);
    return measureRounds(guests, order);
  });
}

/** All rows, `rounds` times, each row by one guest right after the other. */
export async function measureRounds<C extends string>(
  guests: ReadonlyMap<C, BenchGuest>,
  {
    rows,
    rounds,
    warmUp = false,
    besides,
    progress,
  }: Pick<RowsOrder<C>, 'rows' | 'rounds' | 'warmUp' | 'besides' | 'progress'>,
): Promise<Measurements<C>> {
  const empty = () => Object.fromEntries([...guests.keys()].map((name) => [name, []])) as unknown as OfRow<C>;
  const measurements = new Map(rows.map((row) => [row.name, empty()]));
  for (let round = warmUp ? 0 : 1; round <= rounds; round++) {
    const overheads = new Map<C, Usage>();
    for (const [name, guest] of guests) overheads.set(name, await usageOf(guest, besides));
    for (const row of rows) {
      for (const [name, guest] of rotated([...guests], Math.max(0, round - 1))) {
        const measurement = await measureRow(row, guest, overheads.get(name) ?? noUsage);
        if (round > 0) measurements.get(row.name)?.[name].push(measurement);
        const which = round > 0 ? `round ${round}` : 'warm-up';
        progress(`${which}: ${row.name}: ${name} ${measurement.perSecond.toFixed(0)} ${row.request}/s`);
      }
    }
  }
  return measurements;
}

type OfRow<C extends string> = Record<C, Measurement[]>;

/** Another contestant begins in each round: who runs first finds another host than who runs last. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

async function measureRow(row: Row, guest: BenchGuest, overhead: Usage): Promise<Measurement> {
  // What earlier rows left to be written must not fall into this one.
  await guest.host.run(['sync']);
  const used = await usageOf(guest, row.run);
  const { requests, seconds, uncounted = 0 } = await row.result(guest);
  const each = (part: (usage: Usage) => number): number =>
    Math.max(0, part(used) - part(overhead)) / (requests + uncounted);
  return {
    perSecond: requests / seconds,
    cpuSeconds: each(({ cpuSeconds }) => cpuSeconds) * row.nominal,
    exitsPerRequest: each(({ exits }) => exits),
    mmioExitsPerRequest: each(({ mmioExits }) => mmioExits),
  };
}

const noUsage: Usage = { cpuSeconds: 0, exits: 0, mmioExits: 0 };

/** What a guest's VMM uses while `work` is done. */
async function usageOf(guest: BenchGuest, work?: (guest: BenchGuest) => Promise<void>): Promise<Usage> {
  if (work === undefined) return noUsage;
  const before = await guest.usage();
  await work(guest);
  const after = await guest.usage();
  return {
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    exits: after.exits - before.exits,
    mmioExits: after.mmioExits - before.mmioExits,
  };
}
