import { Command, InvalidArgumentError } from 'commander';
import { benchBoot } from './boot.ts';
import { benchDiskEngines } from './disk-engines.ts';
import { benchMemory } from './memory.ts';
import { benchRegisters } from './registers.ts';
import { benchVirtioNative } from './virtio-native.ts';

/**
 * `npm run bench -- NAME [--json]`: this VMM beside QEMU (or C), in turn, on the same host with the same guest. Figures
 * are medians; ratios are medians of the ratios of each round, ours to theirs, so below 1 is better.
 */

interface Options {
  readonly rounds: number;
  readonly json?: boolean;
}

const program = new Command('npm run bench --').description(
  'Compare this VMM with QEMU on the same host. Ratios are ours to theirs: below 1 is better.',
);

function bench(name: string, description: string, run: (options: Options) => Promise<object | undefined>): void {
  program
    .command(name)
    .description(description)
    .option('--rounds <n>', 'rounds that count', positiveInteger, 5)
    .option('--json', 'print one line of JSON, nothing else, to standard output')
    .action(async (options: Options) => {
      const result = await run(options);
      if (result === undefined) process.exitCode = 1;
      else if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
      else
        for (const [key, value] of Object.entries(result))
          process.stdout.write(`${key.padEnd(20)} ${typeof value === 'object' ? JSON.stringify(value) : value}\n`);
    });
}

bench('boot', 'from process start to the first line of /init: ours, QEMU microvm, QEMU pc', ({ rounds }) =>
  benchBoot({ cpus: 1, memoryMib: 256, commandLine: 'console=ttyS0 quiet panic=-1' }, rounds, progress),
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
  'the block device without a guest: requests a second, bytes of heap a request',
  async ({ rounds }) => benchVirtioNative(rounds, progress),
);

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
