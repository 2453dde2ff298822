import { Command, InvalidArgumentError, Option } from 'commander';
import { inPrivateNetwork } from '../chaos/net/private-network.ts';
import { benchBlock } from './block.ts';
import { benchBoot } from './boot.ts';
import { benchCheckpointedMemory } from './checkpointed-memory.ts';
import { benchClocks } from './clocks.ts';
import { benchCompareNative } from './compare-native.ts';
import { benchDirty } from './dirty.ts';
import { benchDiskEngines } from './disk-engines.ts';
import { benchFailoverNative } from './failover-native.ts';
import { formatFailover } from './failover-native-report.ts';
import { benchIdleNative } from './idle-native.ts';
import { formatIdle } from './idle-report.ts';
import { benchMemory } from './memory.ts';
import { benchNet } from './net.ts';
import { benchNetNative } from './net-native.ts';
import { benchCheckpoint, quickTimes, wholeTimes } from './pair/checkpoint.ts';
import { formatCheckpoint } from './pair/checkpoint-report.ts';
import { type PairMode, pairModes } from './pair/contender.ts';
import { benchFailover } from './pair/failover.ts';
import { formatFailover as formatFailoverInLab } from './pair/failover-report.ts';
import { benchService, quickServices, wholeServices } from './pair/service.ts';
import { formatService } from './pair/service-report.ts';
import { benchPause } from './pause.ts';
import { formatPauses } from './pause-report.ts';
import { benchPages, formatPages } from './peer/pages.ts';
import { benchRoundTrip, formatRoundTrip } from './peer/round-trip.ts';
import { benchRegisters } from './registers.ts';
import { benchResyncNative } from './resync-native.ts';
import { formatResync } from './resync-report.ts';
import { formatRows, ratioMeaning } from './row-report.ts';
import { benchSurvivor } from './survivor-native.ts';
import { formatSurvivor } from './survivor-report.ts';
import { benchTranslateNative } from './translate-native.ts';
import { benchVirtioNative } from './virtio-native.ts';

/**
 * `npm run bench -- NAME [--json]`: this VMM beside QEMU (or C), in turn, on the same host with the same guest. Figures
 * are medians; ratios are medians of the ratios of each round, ours to theirs. Of times and sizes below 1 is better, of
 * speeds (block, net) above.
 */

interface Options {
  readonly rounds: number;
  readonly json?: boolean;
  readonly quick?: boolean;
  readonly mode: PairMode;
}

const program = new Command('npm run bench --').description(
  'Compare this VMM with QEMU on the same host. Ratios are ours to theirs. boot, memory and registers compare times and ' +
    'sizes: below 1 is better. block and net compare speeds: 1 or more is better.',
);

const quietGuest = { cpus: 1, memoryMib: 256, commandLine: 'console=ttyS0 quiet panic=-1' };

function bench<T extends object>(
  name: string,
  description: string,
  run: (options: Options) => Promise<T | undefined>,
  {
    format = lines,
    rounds = 5,
    length = 'rounds',
    hasMode = false,
  }: { format?: (result: T) => string; rounds?: number; length?: 'rounds' | 'quick'; hasMode?: boolean } = {},
): void {
  const command = program.command(name).description(description);
  if (length === 'rounds') command.option('--rounds <n>', 'rounds that count', positiveInteger, rounds);
  else command.option('--quick', 'a few seconds of each, which tell little');
  if (hasMode) {
    command.addOption(new Option('--mode <mode>', 'of our pair').choices(pairModes).default(pairModes[0]));
  }
  command
    .option('--json', 'print one line of JSON, nothing else, to standard output')
    .action(async (options: Options) => {
      const result = await run(options);
      if (result === undefined) process.exitCode = 1;
      else process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : format(result));
    });
}

bench('boot', 'from process start to the first line of /init: ours, QEMU microvm, QEMU pc', ({ rounds }) =>
  benchBoot(quietGuest, rounds, progress),
);
bench('memory', 'resident memory beyond guest RAM: ours, QEMU microvm, QEMU pc', ({ rounds }) =>
  // A size that no other mapping of a process has.
  benchMemory({ cpus: 1, memoryMib: 273, commandLine: 'console=ttyS0 quiet panic=-1' }, rounds, progress),
);
bench('registers', 'a device register access: our exit loop and the same in C, natively', async ({ rounds }) => {
  const result = benchRegisters(rounds, progress);
  if (result === undefined) progress('skipped: there is no C compiler to compare with; apt-get install gcc libc6-dev');
  return result;
});

bench('disk-engines', 'system calls on disk files: io_uring and plain calls, natively', async ({ rounds }) =>
  benchDiskEngines(rounds, progress),
);

bench(
  'virtio-native',
  'disk and network card without a guest: time and bytes of heap for each request and packet',
  async ({ rounds }) => ({ ...benchVirtioNative(rounds, progress), net: benchNetNative(rounds, progress) }),
);

bench(
  'compare-native',
  'comparing what two guests that agree say, natively: pairs of packets a second on a core, bytes of heap for each',
  async ({ rounds }) => benchCompareNative(rounds, progress),
);

bench(
  'translate-native',
  "giving packets of the secondary guest the primary's numbers, natively: packets a second on a core, bytes of heap for each",
  async ({ rounds }) => benchTranslateNative(rounds, progress),
);

bench(
  'round-trip-native',
  'a packet in, mirrored, answered by both sides, compared and released, between two processes without a guest: what that adds',
  ({ rounds }) => benchRoundTrip(rounds, progress),
  { format: formatRoundTrip },
);

bench(
  'pages-native',
  "a checkpoint's pages encoded, sent to another process and staged there, to the same bytes by TCP on loopback",
  ({ rounds }) => benchPages(rounds, progress),
  { format: formatPages },
);

bench(
  'dirty',
  "which pages a guest wrote, by KVM's dirty log and by its ring, and copying them aside, natively",
  async ({ rounds }) => benchDirty(rounds, progress),
  { rounds: 31 },
);

bench(
  'checkpointed-memory',
  'going back to a checkpoint: RAM mapped privately over it, and a second copy of RAM, natively',
  async ({ rounds }) => benchCheckpointedMemory(rounds, progress),
  { rounds: 21 },
);

bench(
  'pause',
  'how long a guest stands still for a checkpoint, part by part, natively and in the lab; stopping, saving and restoring ' +
    'it, beside QEMU microvm and pc. Ratio: of times, ours to theirs',
  ({ rounds }) => benchPause(quietGuest, rounds, progress),
  { format: formatPauses },
);

bench(
  'clocks',
  'what kvmclock loses to the TSC while a guest is paused and resumed, natively and in the lab; --rounds: pauses',
  async ({ rounds }) => benchClocks(rounds, progress),
  { rounds: 10_000 },
);
bench(
  'block',
  `disk requests a second, exits and CPU time: ours, QEMU microvm with aio=threads and aio=io_uring. Ratio: ${ratioMeaning}`,
  ({ rounds }) => benchBlock(quietGuest, rounds, progress),
  { format: formatRows, rounds: 3 },
);
bench(
  'net',
  `TCP, UDP and round trips over a TAP, exits and CPU time: ours, QEMU microvm without vhost. Ratio: ${ratioMeaning}`,
  ({ rounds }) => benchNet(quietGuest, rounds, progress),
  { format: formatRows, rounds: 3 },
);

bench(
  'failover-native',
  "kill -9 of a pair's primary and switchovers as a client of the small guest sees them, the time until it is protected again, its stops, and answers a second with and without " +
    'protection, natively; --rounds: kills, and switchovers',
  async ({ rounds, mode }) => {
    await inPrivateNetwork();
    return benchFailoverNative(rounds, mode, progress);
  },
  { format: formatFailover, rounds: 20, hasMode: true },
);

bench(
  'resync',
  'a standby that comes back when 1 % of a disk of 1 GiB changed, to a full copy; natively, after npm run build',
  ({ rounds }) => benchResyncNative(rounds, progress),
  { format: formatResync, rounds: 3 },
);

bench(
  'survivor',
  'memory and speed of a guest whose standby took it over a minute ago, buffered and comparing, to the same guest unprotected; ' +
    'natively, after npm run build',
  ({ rounds }) => benchSurvivor(rounds, progress),
  { format: formatSurvivor, rounds: 3 },
);

bench(
  'idle-native',
  'memory and processor time of both sides of a pair that is protected and idle, a checkpoint every 0.5 s; --rounds: minutes',
  async ({ rounds, mode }) => {
    await inPrivateNetwork();
    return benchIdleNative(rounds, mode, progress);
  },
  { format: formatIdle, rounds: 30, hasMode: true },
);

bench(
  'checkpoint',
  "what protection costs a guest: its stops, the beginning, answers a second, the standby's memory; ours comparing, buffered, and buffered without TLS, and " +
    "QEMU's COLO, on two hosts of the lab",
  ({ quick }) => benchCheckpoint(quick === true ? quickTimes : wholeTimes, progress),
  { format: formatCheckpoint, length: 'quick' },
);

bench(
  'failover',
  'how long a client waits when the primary is killed, its host lost, or the roles are changed: ours, and QEMU in COLO with a script ' +
    'that reacts at once, on two hosts of the lab; and by part, how long it takes until the guest is protected again',
  ({ rounds, mode }) => benchFailover(rounds, mode, progress),
  { format: formatFailoverInLab, rounds: 20, hasMode: true },
);

bench(
  'service',
  'answers a second and how long they take, of services that people run: nginx, redis, replies that always differ, and MiB a second of a ' +
    'transfer each way; what checkpoints were for; unprotected, ' +
    "two guests at once, comparing, buffered, and QEMU's COLO, on two hosts of the lab",
  ({ quick }) => benchService(quick === true ? quickServices : wholeServices, progress),
  { format: formatService, length: 'quick' },
);

/** One figure a line. */
function lines(result: object): string {
  return Object.entries(result)
    .map(([key, value]) => `${key.padEnd(20)} ${typeof value === 'object' ? JSON.stringify(value) : value}\n`)
    .join('');
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It is a number from 1 on.');
  return value;
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
