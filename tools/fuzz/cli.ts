import { Command, InvalidArgumentError } from 'commander';
import { inThread } from '../../test/support/thread.ts';
import type { FuzzOrder, FuzzReport } from './fuzz-worker.ts';
import { fuzzTargets } from './targets.ts';

/**
 * `npm run fuzz -- virtio --runs N [--seed S]`: hostile drivers, each made of the numbers of a seed, against virtio
 * devices. `npm run fuzz -- vmstate`: spoilt states, loaded while such drivers use the devices. `npm run fuzz -- qmp`: hostile
 * clients against the monitor. `npm run fuzz -- snapshot`: spoilt snapshots. `npm run fuzz -- peer`: peers of a pair that
 * lose their minds. `npm run fuzz -- packets`: frames of hostile guests and networks. The first case that fails ends the run and says
 * how to see it again.
 */

interface Options {
  readonly runs: number;
  readonly seed: number;
  readonly device?: string;
  readonly log?: boolean;
}

const worker = new URL('./fuzz-worker.ts', import.meta.url);
/** A case takes a tenth of a millisecond. One that takes so long does not end. */
const patienceMs = 20_000;
/** Runs of at least so many cases must have tried everything. */
const runsThatCover = 20_000;

const program = new Command('npm run fuzz --').description('Attack what takes bytes from outside.');

const commands = [
  {
    command: 'virtio',
    description: 'hostile drivers against virtio queues, registers and devices',
    devices: Object.keys(fuzzTargets),
  },
  {
    command: 'vmstate',
    description: 'spoilt states of devices, loaded between what hostile drivers do',
    devices: [...Object.keys(fuzzTargets), 'serial'],
  },
] as const;

for (const { command, description, devices } of commands) {
  program
    .command(command)
    .description(description)
    .option('--runs <n>', 'cases, shared among the devices', wholeNumber, 50_000)
    .option('--seed <n>', 'seed of the first case; each further one has the next', wholeNumber, 1)
    .option('--device <name>', `one of ${devices.join(', ')}; all, if none is named`)
    .option('--log', 'tell of every operation; for few cases')
    .action(async ({ runs, seed, device, log }: Options) => {
      const names = device === undefined ? devices : [device];
      for (const target of names) {
        await fuzz({ command, target, seed, runs: Math.ceil(runs / names.length), log: log === true });
      }
    });
}

const others = [
  { command: 'qmp', description: 'bytes of hostile clients against the monitor' },
  { command: 'snapshot', description: 'spoilt snapshots, with checksums that are right' },
  { command: 'peer', description: 'peers of a pair that lose their minds' },
  {
    command: 'packets',
    description: 'frames of hostile guests and networks, against the comparison of two guests and the translation',
  },
] as const;

for (const { command, description } of others) {
  program
    .command(command)
    .description(description)
    .option('--runs <n>', 'cases', wholeNumber, 50_000)
    .option('--seed <n>', 'seed of the first case; each further one has the next', wholeNumber, 1)
    .option('--log', 'tell of all that is done; for few cases')
    .action(({ runs, seed, log }: Options) => fuzz({ command, target: command, seed, runs, log: log === true }));
}

async function fuzz(order: FuzzOrder): Promise<void> {
  const { target, seed, runs } = order;
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const begun = performance.now();
  let [before, since] = [0, begun];
  const watch = setInterval(() => {
    const now = Atomics.load(progress, 0);
    if (now !== before) [before, since] = [now, performance.now()];
    else if (performance.now() - since > patienceMs) {
      // The thread does not listen: only the end of the process ends it.
      process.stderr.write(`fuzz: ${target}, seed ${seed + now - 1}: the case does not end\n`);
      process.exit(1);
    }
  }, 1000);
  try {
    const report = (await inThread(worker, 'fuzzInThread', order, progress.buffer)) as FuzzReport;
    const seconds = (performance.now() - begun) / 1000;
    const rate = Math.round(runs / seconds);
    process.stdout.write(
      `${target}: ${runs} cases from seed ${seed} in ${seconds.toFixed(1)} s (${rate} a second), ${report.found}\n`,
    );
    if (runs >= runsThatCover && report.missing.length > 0) {
      throw new Error(`${target}: the cases never tried ${report.missing.join('; ')}`);
    }
  } finally {
    clearInterval(watch);
  }
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It is a number from 1 on.');
  return value;
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`fuzz: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
