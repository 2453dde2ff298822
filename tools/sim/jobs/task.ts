import { runSeeds } from '../campaign.ts';
import { mutants, mutated } from '../mutants.ts';
import type { Mode } from '../random-schedule.ts';
import type { Sums } from '../report.ts';

/** Seeds that one thread runs: plain data. */
export interface Task {
  readonly first: number;
  readonly count: number;
  readonly mode: Mode;
  readonly compares: boolean;
  /** The place in the list of the rule that is broken. */
  readonly mutant?: number;
}

export interface TaskResult {
  readonly sums: Sums;
  /** The seed that ended it. */
  readonly violating: number | undefined;
}

export function perform({ first, count, mode, compares, mutant }: Task): TaskResult {
  const broken = mutant === undefined ? undefined : mutants[mutant];
  const { totals, violating } = runSeeds(first, count, mode, broken && mutated(broken), compares);
  return { sums: totals, violating: violating?.seed };
}
