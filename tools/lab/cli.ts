import { statSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { cacheRoot, cleanCache, listCache } from '../packages/cache.ts';
import { runTask } from '../packages/task.ts';
import { type ControlReport, runControl } from './control.ts';
import type { Host } from './host.ts';
import { hostImage } from './host-image.ts';
import { type Lab, startLab } from './lab.ts';
import { chooseMode, readModeFacts } from './mode.ts';
import { outerQemu } from './outer-qemu.ts';

interface FilePair {
  readonly source: string;
  readonly path: string;
}

interface HostFlags {
  readonly memory: number;
  readonly file: FilePair[];
}

const smallestHostMib = 512;
const largestHostMib = 65_536;

function memoryMib(value: string): number {
  const mib = Number(value);
  if (!Number.isInteger(mib) || mib < smallestHostMib || mib > largestHostMib) {
    throw new InvalidArgumentError(`give whole MiB from ${smallestHostMib} to ${largestHostMib}.`);
  }
  return mib;
}

function positiveMinutes(value: string): number {
  const minutes = Number(value);
  if (!(minutes > 0) || minutes > 24 * 60) throw new InvalidArgumentError('give minutes above 0, at most 1440.');
  return minutes;
}

function filePair(value: string, earlier: readonly FilePair[]): FilePair[] {
  const match = /^([^=]+)=(\/[^=]+)$/.exec(value);
  if (match === null) throw new InvalidArgumentError('write SOURCE=/TARGET, such as initrd.cpio=/opt/initrd.cpio.');
  const [, source = '', path = ''] = match;
  if (!statSync(source, { throwIfNoEntry: false })?.isFile()) {
    throw new InvalidArgumentError(`there is no file ${source}.`);
  }
  return [...earlier, { source, path }];
}

/** A lab of one host, up, for `use`; closed whatever happens. */
async function withHost<T>(flags: HostFlags, use: (host: Host) => Promise<T>): Promise<T> {
  const lab: Lab = await runTask('lab', (progress) =>
    startLab({ memoryMib: flags.memory, files: flags.file, progress }),
  );
  try {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab came without a host');
    return await use(host);
  } finally {
    await lab.close();
  }
}

async function build(flags: { refresh?: boolean }): Promise<void> {
  const { mode, reason } = chooseMode(readModeFacts(), process.env.LAB);
  const refresh = flags.refresh ?? false;
  const image = await runTask('host image', (progress) => hostImage({ progress, refresh }));
  const qemu = await runTask('emulator', (progress) => outerQemu({ progress, refresh }));
  process.stdout.write(
    [
      `mode      ${mode}: ${reason}`,
      `kernel    ${image.kernel}`,
      `initramfs ${image.initramfs}`,
      `disk      ${image.disk}`,
      `emulator  QEMU ${qemu.versions['qemu-system-x86']}, ${qemu.root}`,
      '',
    ].join('\n'),
  );
}

async function shell(flags: HostFlags): Promise<void> {
  const { stdin, stdout } = process;
  if (!stdin.isTTY) throw new Error('a shell needs a terminal on standard input; use `exec -- sh` for scripts');
  await withHost(flags, async (host) => {
    process.stderr.write(`${host.name} is up. Leave with "exit" or Ctrl-D; what you made there is gone then.\n`);
    const size = `stty rows ${stdout.rows || 24} cols ${stdout.columns || 80}; exec bash --norc`;
    const child = host.spawn(size, { terminal: true, env: { PS1: `${host.name}# ` } });
    child.stdout.pipe(stdout, { end: false });
    stdin.setRawMode(true);
    stdin.pipe(child.stdin);
    try {
      await child.exit;
    } finally {
      stdin.setRawMode(false);
      stdin.unpipe();
      stdin.pause();
    }
  });
}

async function exec(command: readonly string[], flags: HostFlags): Promise<void> {
  await withHost(flags, async (host) => {
    const child = host.spawn(command);
    child.stdout.pipe(process.stdout, { end: false });
    child.stderr.pipe(process.stderr, { end: false });
    process.stdin.pipe(child.stdin);
    const { status, signal } = await child.exit;
    process.stdin.unpipe();
    process.stdin.pause();
    if (signal !== null) process.stderr.write(`${command[0]} ended by ${signal}\n`);
    process.exitCode = status ?? 1;
  });
}

async function control(flags: { minutes: number }): Promise<void> {
  const report = await runTask('control', (progress) => runControl({ minutes: flags.minutes, progress }));
  process.stdout.write(formatControl(report));
  if (report.faults.length > 0) process.exitCode = 1;
}

function formatControl(report: ControlReport): string {
  const { guest } = report;
  return [
    report.faults.length === 0 ? 'the lab is SOUND' : 'the lab is NOT SOUND',
    ...report.faults.map((fault) => `  fault: ${fault}`),
    `  duration          ${report.durationS.toFixed(0)} s`,
    `  pauses            ${report.pauses}`,
    `  guest resets      ${guest.resets}`,
    `  rounds of 16 MiB  ${guest.roundsRight} right, ${guest.roundsWrong} wrong`,
    `  timer ticks       ${guest.ticks}, the longest sleep of 1 s took ${guest.longestTickS.toFixed(2)} s`,
    `  guest uptime      ${guest.uptimeS.toFixed(0)} s`,
    '',
  ].join('\n');
}

async function list(): Promise<void> {
  const entries = await listCache();
  const lines = entries.map(
    ({ kind, key, sizeBytes }) => `${(sizeBytes / 1e6).toFixed(0).padStart(6)} MB  ${kind}/${key}`,
  );
  process.stdout.write([cacheRoot(), ...lines, ''].join('\n'));
}

const program = new Command('npm run lab --').description(
  'Bare metal where there is none: emulated hosts with KVM, made of Debian packages.\n' +
    'LAB=emulated or LAB=native overrides the choice made for this machine.',
);
const hostCommand = (name: string) =>
  program
    .command(name)
    .option('--memory <MiB>', 'memory of the host', memoryMib, 1024)
    .option('--file <source=target>', 'a file of this machine to have there; repeatable', filePair, []);

program
  .command('build')
  .description('fetch packages and make the images now, so that the first test need not')
  .option('--refresh', 'ask the mirror for newer packages')
  .action(build);
hostCommand('shell').description('a shell in a fresh host').action(shell);
hostCommand('exec')
  .description('run a command in a fresh host, its input and output here; ends with its exit status')
  .argument('<command...>', 'after --')
  .action(exec);
program
  .command('control')
  .description('prove the lab: QEMU in it runs a busy guest that is stopped and continued twice a second')
  .option('--minutes <number>', 'how long', positiveMinutes, 10)
  .action(control);
program.command('list').description('what is in the cache').action(list);
program.command('clean').description('remove the cache').action(cleanCache);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
