import { type Mode, randomSchedule } from './random-schedule.ts';
import { Totals } from './report.ts';
import { runSchedule } from './run.ts';
import type { Broken, Schedule } from './world/schedule.ts';

export interface Campaign {
  readonly totals: Totals;
  readonly violating: Schedule | undefined;
}

/**
 * Runs the schedules of `count` seeds from `first` on; ends at the first violation.
 *
 * @param compares both guests run
 */
export function runSeeds(first: number, count: number, mode: Mode, broken: Broken = {}, compares = false): Campaign {
  const totals = new Totals();
  for (let seed = first; seed < first + count; seed++) {
    const schedule = randomSchedule(seed, mode, compares);
    const outcome = runSchedule(schedule, { ...broken, counts: totals.counts });
    totals.add(schedule, outcome);
    if (outcome.violation !== undefined) return { totals, violating: schedule };
  }
  return { totals, violating: undefined };
}
