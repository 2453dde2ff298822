import { pathToFileURL } from 'node:url';
import { test } from 'tap';
import { huntMutants, runSeedsInJobs } from '../../tools/sim/jobs/campaigns.ts';
import { performInOrder } from '../../tools/sim/jobs/pool.ts';
import { mutants } from '../../tools/sim/mutants.ts';

const seeds = { first: 1, count: 180, mode: 'safety', compares: false } as const;

test('what schedules come to is the same by one thread and by three', async (t) => {
  const alone = await runSeedsInJobs(seeds, 1);
  const together = await runSeedsInJobs(seeds, 3);
  t.equal(alone.totals.schedules, seeds.count);
  t.same(together.totals.lines(), alone.totals.lines());
  t.same(together.totals.counts, alone.totals.counts);
});

test('the first violation is that of the lowest seed, and what is told ends there', async (t) => {
  // It takes more than a hundred schedules: others, which violate too, are run at the same time.
  const mutant = mutants.findIndex(({ name }) => name === 'items of any epoch are taken');
  const broken = { ...seeds, count: 2000, mutant };
  const alone = await runSeedsInJobs(broken, 1);
  const together = await runSeedsInJobs(broken, 3);
  t.ok((alone.violating?.seed ?? 0) > 50);
  t.same(together.violating, alone.violating);
  t.equal(together.totals.schedules, together.violating?.seed);
  t.same(together.totals.lines(), alone.totals.lines());
});

test('mutants are told in the order of their list', async (t) => {
  const names: string[] = [];
  for await (const { mutant } of huntMutants(1, 5, 'RECEIVED', 2)) names.push(mutant.name);
  t.same(
    names,
    mutants.map(({ name }) => name).filter((name) => name.includes('RECEIVED')),
  );
});

test('results come in the order of the tasks, whichever thread is done first', async (t) => {
  const program = t.testdir({
    'worker.ts': `import { parentPort } from 'node:worker_threads';
      parentPort?.on('message', (ms: number) => setTimeout(() => parentPort?.postMessage(ms), ms));`,
  });
  const results: number[] = [];
  const tasks = [40, 0, 10, 0, 20];
  for await (const result of performInOrder<number, number>(pathToFileURL(`${program}/worker.ts`), tasks, 3)) {
    results.push(result);
  }
  t.same(results, tasks);
});

test('a thread that fails ends all of it', async (t) => {
  const program = t.testdir({
    'worker.ts': `import { parentPort } from 'node:worker_threads';
      parentPort?.on('message', (task: number) => {
        if (task === 2) throw new Error('no');
        parentPort?.postMessage(task);
      });`,
  });
  const results: number[] = [];
  await t.rejects(
    async () => {
      const all = performInOrder<number, number>(pathToFileURL(`${program}/worker.ts`), [1, 2, 3], 2);
      for await (const result of all) results.push(result);
    },
    { message: 'no' },
  );
  t.same(results, [1]);
});
