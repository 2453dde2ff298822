import type { Campaign } from '../campaign.ts';
import { type Mutant, mutants, mutated } from '../mutants.ts';
import { randomSchedule } from '../random-schedule.ts';
import { Totals } from '../report.ts';
import { runSchedule } from '../run.ts';
import { performInOrder } from './pool.ts';
import { perform, type Task, type TaskResult } from './task.ts';

/** Schedules of a task: a twentieth of a second of the quickest. */
const taskSchedules = 50;

/** As `runSeeds` (campaign.ts), by so many threads. What comes of it is the same, however many: all up to the lowest seed that violates. */
export async function runSeedsInJobs(all: Task, jobs: number): Promise<Campaign> {
  const tasks: Task[] = [];
  for (let done = 0; done < all.count; done += taskSchedules) {
    tasks.push({ ...all, first: all.first + done, count: Math.min(taskSchedules, all.count - done) });
  }
  const totals = new Totals();
  for await (const { sums, violating } of performAll(tasks, jobs)) {
    totals.include(sums);
    if (violating !== undefined) return { totals, violating: randomSchedule(violating, all.mode, all.compares) };
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
export async function* huntMutants(first: number, limit: number, word = '', jobs = 1): AsyncGenerator<Caught> {
  const hunted = mutants.filter(({ name }) => name.includes(word));
  const tasks = hunted.map((mutant): Task => {
    const { mode = 'safety', compares = false } = mutant;
    return { first, count: limit, mode, compares, mutant: mutants.indexOf(mutant) };
  });
  const left = hunted.values();
  for await (const result of performAll(tasks, jobs)) yield caught(left.next().value as Mutant, result);
}

/** @throws Error if the seed that shows the mutant violates without it as well */
function caught(mutant: Mutant, { sums, violating }: TaskResult): Caught {
  if (violating === undefined) return { mutant, after: undefined, by: 'nothing' };
  const schedule = randomSchedule(violating, mutant.mode ?? 'safety', mutant.compares);
  const clean = runSchedule(schedule).violation;
  if (clean !== undefined) throw new Error(`seed ${violating} breaks without any mutant: ${clean.message}`);
  const by = runSchedule(schedule, mutated(mutant)).violation?.message ?? '';
  return { mutant, after: sums.schedules, by };
}

async function* performAll(tasks: readonly Task[], jobs: number): AsyncGenerator<TaskResult> {
  if (jobs > 1 && tasks.length > 1)
    yield* performInOrder<Task, TaskResult>(new URL('./worker.ts', import.meta.url), tasks, jobs);
  else for (const task of tasks) yield perform(task);
}
