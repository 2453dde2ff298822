import { runSchedule } from './run.ts';
import type { Schedule, WorldOptions } from './world/schedule.ts';

/** The same violation with as few faults as will do, in as short a time. */
export function shrink(schedule: Schedule, options: Pick<WorldOptions, 'rules'> = {}): Schedule {
  const wanted = violationOf(schedule, options);
  if (wanted === undefined) return schedule;
  let best = schedule;
  for (let again = true; again; ) {
    again = false;
    for (let at = 0; at < best.faults.length; at++) {
      const without = { ...best, faults: best.faults.filter((_, index) => index !== at) };
      if (violationOf(without, options) !== wanted) continue;
      best = without;
      again = true;
      break;
    }
  }
  return best;
}

/** Which invariant breaks. */
function violationOf(schedule: Schedule, options: Pick<WorldOptions, 'rules'>): string | undefined {
  return runSchedule(schedule, options).violation?.invariant;
}
