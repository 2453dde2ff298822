import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { equivalentMutants } from './equivalent/by-file.ts';
import { type FileScore, scoreFile } from './file-score.ts';
import { formatScores } from './format-scores.ts';
import { isUnnoticed, type Mutant, type MutationReport, strykerRange, withLaterResults } from './mutation-report.ts';
import { ownTests, sourceFilesOf } from './own-tests.ts';
import { quickRun } from './quick/quick-run.ts';
import { folder, runStryker, type StrykerOrder } from './stryker-run.ts';

interface Options {
  readonly concurrency: number;
  readonly break?: number;
  readonly again?: boolean;
  readonly quick?: boolean;
  readonly json?: boolean;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

const program = new Command('npm run mutate --')
  .description(
    'Change the sources one operator at a time and see whether their own unit tests notice. Prints a table and what nobody noticed.',
  )
  .argument('<path...>', 'source files, or folders of them')
  .option('--concurrency <n>', 'test processes at a time', wholeNumber, 2)
  .option('--break <percent>', 'exit code 1 if the score of any file is below this', percent)
  .option('--again', 'try only what survived the last run of a file that has not changed since')
  .option('--quick', 'show all mutants to the tests in a few processes; what threads of a test come to does not count')
  .option('--json', 'print one line of JSON, nothing else, to standard output')
  .action(async (paths: string[], options: Options) => {
    // Stryker finds processes that hang by ps.
    if (spawnSync('ps', ['--version']).error !== undefined) throw new Error('there is no ps: apt-get install procps');
    const stop = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
    const files = sourceFilesOf(paths, root);
    const scores: FileScore[] = [];
    for (const file of files) {
      process.stderr.write(`${file}\n`);
      const mutants = await mutantsOf(file, options, stop.signal);
      scores.push(scoreFile(file, sourceOf(file), mutants, equivalentMutants[file] ?? []));
    }
    const missing = Object.keys(equivalentMutants).filter((file) => !existsSync(join(root, file)));
    process.stdout.write(options.json ? `${JSON.stringify({ files: scores })}\n` : formatScores(scores));
    for (const file of missing)
      process.stderr.write(`mutate: the list of equivalent mutants names ${file}, which is not there\n`);
    const low = scores.filter(({ score }) => score < (options.break ?? 0));
    for (const { file, score } of low) {
      process.stderr.write(`mutate: ${file}: ${score.toFixed(1)} % is below ${options.break} %\n`);
    }
    if (low.length + missing.length > 0 || scores.some(({ wrongEntries }) => wrongEntries.length > 0))
      process.exitCode = 1;
  });

async function mutantsOf(
  file: string,
  { concurrency, again, quick }: Options,
  stop: AbortSignal,
): Promise<readonly Mutant[]> {
  const order: StrykerOrder = { root, file, tests: ownTests(file, root), concurrency };
  const run = quick ? quickRun : runStryker;
  const kept = reportPath(file, quick);
  const last = again ? lastResults(file, kept) : undefined;
  let mutants: readonly Mutant[];
  if (last === undefined) mutants = await run(order, stop);
  else {
    const ranges = new Set(last.filter(isUnnoticed).map(({ location }) => strykerRange(location)));
    if (ranges.size === 0) return last;
    mutants = withLaterResults(last, await run({ ...order, ranges: [...ranges] }, stop));
  }
  const report: MutationReport = { files: { [file]: { source: sourceOf(file), mutants } } };
  writeFileSync(kept, JSON.stringify(report));
  return mutants;
}

/** What the last run found, if the file is still the same. */
function lastResults(file: string, report: string): readonly Mutant[] | undefined {
  if (!existsSync(report)) return undefined;
  const entry = (JSON.parse(readFileSync(report, 'utf8')) as MutationReport).files[file];
  return entry?.source === sourceOf(file) ? entry.mutants : undefined;
}

/** Where the results of a file stay; those of `--quick` by themselves, for they are not the last word. */
function reportPath(file: string, quick = false): string {
  return join(root, folder, `${file.replace(/\.ts$/, '').replaceAll('/', '-')}${quick ? '.quick' : ''}.json`);
}

function sourceOf(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It is a number from 1 on.');
  return value;
}

function percent(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 100)) throw new InvalidArgumentError('It is a number from 0 to 100.');
  return value;
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`mutate: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
