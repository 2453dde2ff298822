import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { Command, InvalidArgumentError, Option } from 'commander';
import { explore } from './exhaustive.ts';
import { huntMutants, runSeedsInJobs } from './jobs/campaigns.ts';
import { type Mode, modes, randomSchedule } from './random-schedule.ts';
import { explain, Totals } from './report.ts';
import { runSchedule } from './run.ts';

/**
 * `npm run sim`: the cores of src/colo under a scheduler that does anything between any two of their effects. The first schedule
 * that breaks an invariant ends the run, is shrunk, told, and can be seen again by its seed.
 */

interface Options {
  readonly seeds: number;
  readonly seed?: number;
  readonly mode: Mode;
  readonly jobs: number;
  readonly mutants?: true | string;
  readonly exhaustive?: boolean;
  readonly seconds: number;
  readonly history?: boolean;
  readonly compare?: boolean;
}

const program = new Command('npm run sim --')
  .description('Simulate two sides, what is between them, an arbiter and clients, with faults between any two effects.')
  .option('--seeds <n>', 'schedules, or how many each mutant is looked for in', wholeNumber, 10_000)
  .option('--seed <n>', 'the first seed; alone, the only one', wholeNumber)
  .addOption(
    new Option(
      '--mode <mode>',
      'safety: faults everywhere; liveness: one side is well in the end, and must serve; cycles: failover, protected again, and so on; ' +
        "overload: a host is starved again and again; slow-disk: the standby's disk takes less than the guest writes",
    )
      .choices([...modes])
      .default('safety'),
  )
  .option('--mutants [word]', 'break one rule of the specification at a time, and see that it is noticed')
  .option('--exhaustive', 'every fault before every effect of a small model, then every two of them')
  .option('--seconds <n>', 'how long --exhaustive looks for pairs', wholeNumber, 60)
  .option('--compare', 'both guests run, and their answers are compared')
  .option(
    '--jobs <n>',
    'threads that run schedules; what they come to is the same',
    wholeNumber,
    availableParallelism(),
  )
  .option('--history', 'tell what happens; for one seed')
  .action(main);

async function main(options: Options, command: Command): Promise<void> {
  const begun = performance.now();
  if (options.mutants !== undefined) await hunt(options);
  else if (options.exhaustive === true) exhaust(options);
  else {
    const alone = options.seed !== undefined && command.getOptionValueSource('seeds') === 'default';
    if (options.history === true) tell(options.seed ?? 1, options.mode, options.compare === true);
    else await seeds(options, alone ? 1 : options.seeds);
  }
  say(`${((performance.now() - begun) / 1000).toFixed(1)} s`);
}

async function seeds(
  { seed: first = 1, mode, compare: compares = false, jobs }: Options,
  count: number,
): Promise<void> {
  const { totals, violating } = await runSeedsInJobs({ first, count, mode, compares }, jobs);
  for (const line of totals.lines()) say(line);
  // What was never reached was not tested.
  if (totals.missing().length > 0) say(`\nnever reached: ${totals.missing().join(', ')}`);
  if (violating === undefined) {
    say(`\n${mode}: no violation in seeds ${first} to ${first + count - 1}`);
    return;
  }
  fail([
    ...explain(violating),
    `again: npm run sim -- --mode ${mode}${compares ? ' --compare' : ''} --seed ${violating.seed}`,
  ]);
}

function tell(seed: number, mode: Mode, compares: boolean): void {
  const history: string[] = [];
  const { violation } = runSchedule(randomSchedule(seed, mode, compares), { history });
  for (const line of history) say(line);
  if (violation !== undefined) fail([violation.message]);
}

async function hunt({ seed = 1, seeds: limit, mutants, jobs }: Options): Promise<void> {
  let missed = 0;
  let rare = 0;
  let slowest = 0;
  let all = 0;
  for await (const { mutant, after, by } of huntMutants(seed, limit, mutants === true ? '' : mutants, jobs)) {
    all++;
    if (after === undefined && mutant.rare === undefined) missed++;
    if (after === undefined && mutant.rare !== undefined) rare++;
    slowest = Math.max(slowest, after ?? 0);
    say(
      `${after === undefined ? 'NOT CAUGHT' : `caught at ${String(after).padStart(5)}`}  ${mutant.section.padEnd(6)} ${mutant.name}`,
    );
    if (after !== undefined) say(`                         ${by}`);
  }
  say(`${all - missed - rare} of ${all} mutants caught within ${limit} schedules, the last at ${slowest}`);
  if (missed > 0) fail([`${missed} mutants live: what they break is not tested`]);
}

function exhaust({ seconds, seed, compare = false }: Options): void {
  const totals = new Totals();
  const found = explore(seconds * 1000, totals, compare, seed);
  for (const line of totals.lines()) say(line);
  say(
    `\nsmall model of ${found.effects} effects: all ${found.single} schedules with one fault, ${found.pairs} with two`,
  );
  say(found.complete ? 'all pairs' : `all pairs less than ${found.distance} effects apart`);
  if (found.violating !== undefined) fail(explain(found.violating));
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function fail(lines: readonly string[]): void {
  process.stderr.write(`\n${lines.join('\n')}\n`);
  process.exitCode = 1;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It is a whole number.');
  return value;
}

// What lives as long as a schedule is soon taken for what lives for ever, and then keeps all of that schedule alive: it is copied for nothing,
// which takes a fourth of all time.
setFlagsFromString('--no-allocation-site-pretenuring');
await program.parseAsync();
