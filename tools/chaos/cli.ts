import { tmpdir } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Mode } from '../../src/colo/protocol/numbers.ts';
import { noEtcd } from '../../test/support/etcd.ts';
import { noKvm } from '../../test/support/kvm.ts';
import { progressToStderr } from '../packages/progress.ts';
import { Campaign, type LeftOut } from './campaign.ts';
import { runLabCampaign } from './lab/campaign.ts';
import { labSummary, roundLines } from './lab/report.ts';
import { inPrivateNetwork } from './net/private-network.ts';
import { leftOutInWords, renderReport, reportOf } from './report.ts';
import type { RoundResult } from './round.ts';

/** `npm run chaos`: real pairs that are killed, frozen, cut off and overloaded, under clients who check every answer. */

interface SmallOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly faults: string;
  readonly without?: string;
  readonly detection: number;
  readonly every?: number;
  readonly insecure?: boolean;
  readonly mode: Mode;
  readonly json?: boolean;
}

const modes: readonly Mode[] = ['comparing', 'buffered'];

const program = new Command('npm run chaos --').description(
  'Kill, freeze, cut off and overload real pairs, and check every answer that anybody was given.',
);

program
  .command('small')
  .description('The small guest, natively: two VMMs on two hosts that are network namespaces, TLS, etcd.')
  .option('--rounds <n>', 'rounds, each with one fault', wholeNumber, 50)
  .option('--seed <n>', 'which faults come when; times are not the same again', wholeNumber, Date.now() % 1_000_000)
  .option('--faults <word>', 'only faults that have this in their names', '')
  .option('--without <word>', 'no faults that have this in their names')
  .option('--detection <ms>', 'silence that means loss', wholeNumber, 200)
  .option(
    '--every <seconds>',
    'a soak: so long between takeovers, in which the pair is let be, a checkpoint every 0.5 s; memory and open files must not grow',
    wholeNumber,
  )
  .option('--insecure', 'no encryption between the hosts')
  .addOption(new Option('--mode <how>', 'how output leaves').choices(modes).default('buffered'))
  .option('--json', 'print the report as JSON')
  .action(small);

interface LabOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly faults: string;
  readonly life: number;
  readonly mode?: Mode;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

program
  .command('lab')
  .description(
    'A Debian guest with real services on two emulated hosts; clients and etcd outside them. It is protected again from one round to the next.',
  )
  .option('--rounds <n>', 'rounds, each with one fault', wholeNumber, 6)
  .option(
    '--seed <n>',
    'which faults come, when, and on which side; times are not the same again',
    wholeNumber,
    Date.now() % 1_000_000,
  )
  .option('--faults <word>', 'only faults that have this in their names', '')
  .option(
    '--life <n>',
    'rounds that one guest lives through; then its disk is compared, and another one comes',
    wholeNumber,
    4,
  )
  .addOption(
    new Option('--mode <how>', 'how output leaves; by default of one guest so, and of the next one so').choices(modes),
  )
  .option('--verbose', 'tell what happens in each round as it does')
  .option('--json', 'print the results as JSON')
  .action(lab);

async function lab(options: LabOptions): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('the machine outside the hosts is a namespace: run as root');
  const { rounds, seed, faults, life, mode, verbose, json } = options;
  if (life === 0) throw new Error('--life 0: a guest lives through one round at least');
  const begun = performance.now();
  const tell = (line: string): boolean => (json === true ? process.stderr : process.stdout).write(`${line}\n`);
  tell(`seed ${seed}`);
  const { results, kept } = await runLabCampaign({
    ...{ rounds, seed, faults, life, keep: tmpdir(), progress: progressToStderr('  ') },
    modes: mode === undefined ? modes : [mode],
    ...(verbose === true ? { onNote: tell } : {}),
    onRound: (round, result) => {
      for (const line of roundLines(round, rounds, result)) tell(line);
    },
  });
  const seconds = (performance.now() - begun) / 1000;
  if (json === true) process.stdout.write(`${JSON.stringify({ seed, seconds, results, kept }, undefined, 2)}\n`);
  else for (const line of labSummary(results, { seed, seconds, kept })) tell(line);
  if (results.length < rounds || results.some(({ violations }) => violations.length > 0)) process.exitCode = 1;
}

async function small(options: SmallOptions): Promise<void> {
  const missing = noKvm() || noEtcd() || (process.getuid?.() === 0 ? false : 'namespaces and TAPs need root');
  if (missing !== false) throw new Error(missing);
  const keep = await inPrivateNetwork();
  const begun = performance.now();
  const { rounds, seed, detection, insecure = false, mode } = options;
  let answers = 0;
  const onRound = (round: number, result: RoundResult): void => {
    answers += result.answers;
    const seconds = Math.round((performance.now() - begun) / 1000);
    const silence = `silent for ${Math.round(result.silenceMs)} ms`;
    const wrong = result.violations.length > 0 ? `; ${result.violations.length} VIOLATIONS` : '';
    progress(
      `${round}/${rounds} in ${seconds} s, ${answers} answers: ${result.fault}: ${result.outcome}, ${silence}${wrong}`,
    );
  };
  const leftOut: LeftOut[] = [];
  const campaign = await Campaign.open({
    rounds,
    seed,
    faults: options.faults,
    ...(options.without === undefined ? {} : { without: options.without }),
    detectionMs: detection,
    insecure,
    compare: mode === 'comparing',
    ...(options.every === undefined ? {} : { restMs: options.every * 1000 }),
    keep,
    onLeftOut: (left) => {
      leftOut.push(left);
      process.stderr.write(`${leftOutInWords(left)}\n`);
    },
    onRound,
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => campaign.stop());
  try {
    await campaign.run();
  } finally {
    await campaign.close();
  }
  const { results, holdings, pairs, kept } = campaign;
  const seconds = (performance.now() - begun) / 1000;
  const report = reportOf(results, {
    seed,
    pairs,
    seconds,
    holdings,
    leftOut,
    ...(kept === undefined ? {} : { kept }),
  });
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  process.stdout.write(options.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : renderReport(report));
  if (report.violations.length > 0 || report.rounds < rounds) process.exitCode = 1;
}

/** One line that is written over in a terminal. */
function progress(line: string): void {
  process.stderr.write(
    process.stderr.isTTY ? `\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}` : `${line}\n`,
  );
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It is a whole number.');
  return value;
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`chaos: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
