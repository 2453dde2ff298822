import { type Mutant, mutants, mutated } from './mutants.ts';
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

export interface Caught {
  readonly mutant: Mutant;
  /** Schedules until it was noticed; none, if it was not. */
  readonly after: number | undefined;
  readonly by: string;
}

/** Looks for each mutant whose name has `word` in at most `limit` schedules, which are clean without it. */
export function* huntMutants(first: number, limit: number, word = ''): Generator<Caught> {
  for (const mutant of mutants) {
    if (!mutant.name.includes(word)) continue;
    const mode = mutant.mode ?? 'safety';
    const broken = mutated(mutant);
    const { totals, violating } = runSeeds(first, limit, mode, broken, mutant.compares);
    if (violating === undefined) {
      yield { mutant, after: undefined, by: 'nothing' };
      continue;
    }
    const clean = runSchedule(violating).violation;
    if (clean !== undefined) throw new Error(`seed ${violating.seed} breaks without any mutant: ${clean.message}`);
    yield { mutant, after: totals.schedules, by: runSchedule(violating, broken).violation?.message ?? '' };
  }
}
