import { isatty } from 'node:tty';
import { Command, CommanderError } from 'commander';
import { tell } from './host/tell.ts';
import type { ConfigKey } from './vmm/config/config.ts';

const description = `A virtual machine monitor for KVM, in TypeScript.

  colo-vmm run --kernel vmlinuz --initrd root.cpio --memory 256M --cpus 2
  colo-vmm status
  colo-vmm doctor`;

const runHelp = `
In a terminal:
  Ctrl-A x ends the machine, Ctrl-A p presses its power button, Ctrl-A h helps.

Exit codes:
  0    the guest powered off (or you ended it with Ctrl-A x)
  1    bad input, or the VMM failed; one line says why
  2    the guest crashed: triple fault, or KVM could not go on
  3    the guest asked for a reboot
  128+n  ended by signal n (129 also when standard input closes)

Disks:
  werror says what happens when a write fails: report it to the guest, stop the machine, or (enospc, the default)
  stop it when the host's disk is full and report all else. A stopped machine tries again when it is told to go on.
  With overlay=FILE the disk itself is only read, and FILE holds what the guest writes; it is made if it is not there.

Examples:
  colo-vmm run --kernel /boot/vmlinuz --initrd root.cpio --cmdline 'console=ttyS0 quiet' --memory 512M --cpus 2
  colo-vmm run --kernel vmlinuz --cmdline 'console=ttyS0 root=/dev/vda rw' --disk path=root.img --net tap=tap0`;

/** Reads the command line and does what it says; ends the process with the right exit code. */
export async function main(argv: readonly string[], program: URL): Promise<void> {
  let exitCode = 0;
  const terminals = standardDescriptors.filter(isatty);
  const cli = new Command('colo-vmm').description(description);
  cli.exitOverride().configureOutput({ writeErr: tell, outputError: (text) => tell(oneLine(text)) });

  const defineRun = (): void => {
    const run = cli.command('run').description('boot a machine and stay with it until it ends');
    for (const [key, argument, help] of runFlags) run.option(`--${key} ${argument}`, help);
    for (const [key, argument, help] of repeatedFlags) run.option(`--${key} ${argument}`, help, collect);
    run
      .option('--config <file>', 'read all of this from a JSON file with the same keys; flags win')
      .addHelpText('after', runHelp)
      .action(async (_options: unknown, command: Command) => {
        const { config: file, ...flags } = flagsOf(command);
        const { parseConfig } = await import('./vmm/config/config.ts');
        const { runCommand } = await import('./vmm/command/run-command.ts');
        exitCode = await runCommand(parseConfig(flags, file), program);
      });
  };

  const defineRestore = (): void => {
    const restore = cli
      .command('restore <snapshot>')
      .description('go on with a machine where a snapshot of it was taken, and stay with it until it ends');
    for (const [key, argument, help] of restoreFlags) restore.option(`--${key} ${argument}`, help);
    for (const [key, argument, help] of restoredDeviceFlags) restore.option(`--${key} ${argument}`, help, collect);
    restore
      .option('--paused', 'let it stand still until colo-vmm resume')
      .addHelpText('after', restoreHelp)
      .action(async (path: string, _options: unknown, command: Command) => {
        const { parseRestoreConfig } = await import('./vmm/command/restore-config.ts');
        const { restoreCommand } = await import('./vmm/command/restore-command.ts');
        exitCode = await restoreCommand(path, parseRestoreConfig(command.opts()), program);
      });
  };

  const defineSnapshot = (): void => {
    const snapshot = cli
      .command('snapshot <path>')
      .description('write a running machine, but for its disks, to a file that restore goes on from');
    for (const [flag, text] of machineFlags) snapshot.option(flag, text);
    snapshot
      .option(
        '--incremental',
        'write only what changed since the last snapshot that was taken so; the first one is whole',
      )
      .option('--stop', 'let the machine stand still, and end it when the snapshot is there')
      .addHelpText('after', snapshotHelp)
      .action(async (path: string, _options: unknown, command: Command) => {
        const { snapshotCommand } = await import('./vmm/client/client-commands.ts');
        await snapshotCommand(path, command.opts());
      });
  };

  const defineMachineCommand = (name: MachineCommand, help: string): void => {
    const command = cli.command(name).description(help);
    for (const [flag, text] of machineFlags) command.option(flag, text);
    if (name === 'resume') {
      command.option(
        '--clock <mode>',
        'keep: for the guest no time has passed; jump: its clock shows what time it is',
        'keep',
      );
    }
    if (name === 'stop') {
      command
        .option('--timeout <seconds>', 'time that the guest gets to shut down', '20')
        .option('--force', 'end the machine at once, as if its plug was pulled');
    }
    command.action(async () => {
      const client = await import('./vmm/client/client-commands.ts');
      await client[`${name}Command`](command.opts());
    });
  };

  const defineDoctor = (): void => {
    cli
      .command('doctor')
      .description('tell what this machine can and cannot do, and what to install')
      .option('--json', 'print the findings as JSON')
      .action(async (options: { json?: boolean }) => {
        const { doctor } = await import('./vmm/command/doctor.ts');
        exitCode = doctor(options.json === true);
      });
  };

  const definitions: Readonly<Record<string, () => void>> = {
    run: defineRun,
    restore: defineRestore,
    snapshot: defineSnapshot,
    ...Object.fromEntries(machineCommands.map(([name, help]) => [name, () => defineMachineCommand(name, help)])),
    doctor: defineDoctor,
  };
  // Only the command that is given, if one is: to define them all is part of every machine's start.
  const given = argv[2] ?? '';
  if (Object.hasOwn(definitions, given)) definitions[given]?.();
  else for (const define of Object.values(definitions)) define();

  try {
    await cli.parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) exitCode = error.exitCode;
    else {
      tell(`colo-vmm: ${error instanceof Error ? explain(error) : String(error)}\n`);
      exitCode = 1;
    }
  }
  // Node aborts, with a core dump, if it cannot reset a terminal that it was started at (node::ResetStdio). One that has
  // gone is no reason for that.
  if (!terminals.every(isatty)) {
    const { exitAtOnce } = await import('./host/libc.ts');
    exitAtOnce(exitCode);
  }
  process.exit(exitCode);
}

const standardDescriptors = [0, 1, 2];

const runFlags: readonly (readonly [ConfigKey, string, string])[] = [
  ['kernel', '<file>', 'bzImage, or ELF vmlinux with a PVH entry'],
  ['initrd', '<file>', 'initial RAM disk'],
  ['cmdline', '<text>', 'the kernel command line; replaces the default "console=ttyS0 panic=-1 ..."'],
  ['cpus', '<n>', 'virtual CPUs, 1 to 8 (default 1)'],
  [
    'memory',
    '<size>',
    'RAM, such as 256M or 2G (default 256M); with ,shared=on in a memfd, which other programs can map',
  ],
  ['rng', '<source>', 'an entropy device for the guest: host, seed=NUMBER (the same bytes at every start) or none'],
  ['serial', '<target>', 'stdio[,eof=stop|ignore], file=PATH or none (default stdio)'],
  ['kaslr', '<on|off>', 'move the kernel to a random virtual address (default off: the same at every start)'],
  ['cpu-mask', '<names>', 'CPU features to hide from the guest, such as xsave,avx,avx2'],
  ['name', '<name>', 'name of the machine, and of its control socket (default: the process id)'],
  ['control', '<path>', 'path of the control socket (QMP), instead of one by name'],
];

/** Flags that may be given several times. */
const repeatedFlags: readonly (readonly [ConfigKey, string, string])[] = [
  [
    'disk',
    '<keys>',
    'a disk: path=FILE[,id=NAME][,readonly=on][,direct=on][,overlay=FILE][,werror=enospc|report|stop]; once for each',
  ],
  ['net', '<keys>', 'a network card: tap=NAME[,mac=ADDRESS][,mtu=BYTES][,offload=off][,bridge=NAME]; once for each'],
];

const restoreFlags = [
  ['clock', '<mode>', 'keep (default): for the guest no time has passed; jump: its clock shows what time it is'],
  ['serial', '<target>', 'stdio[,eof=stop|ignore], file=PATH or none (default stdio)'],
  ['name', '<name>', 'name of the machine, and of its control socket (default: the process id)'],
  ['control', '<path>', 'path of the control socket (QMP), instead of one by name'],
] as const;

const restoredDeviceFlags = [
  [
    'disk',
    '<keys>',
    'other keys for a disk of the snapshot, such as id=NAME,path=FILE (without id: the next one); once for each',
  ],
  ['net', '<keys>', 'other keys for a network card of the snapshot, in their order, such as tap=NAME; once for each'],
] as const;

const snapshotHelp = `
The guest runs on while the snapshot is written, and stands still only for a moment at the end of it. The file appears
when all of it is on the disk, in place of a snapshot that was there; if it fails, or the VMM dies, nothing is there that
was not before. It goes on when this command is interrupted.

Disks are not in it: the guest goes on only with disks that hold what they held at that moment. So end the machine with
--stop, or copy its disks while it is paused.

An incremental snapshot needs all files since the last whole one, where they were. A new whole one is written by itself when
one of them is gone or replaced, or there are 100. The report says what the file holds.

Examples:
  colo-vmm snapshot --stop web.snap
  colo-vmm snapshot --vm web --incremental monday.snap
  colo-vmm pause && cp --sparse=always root.img root.copy && colo-vmm snapshot web.snap && colo-vmm resume`;

const restoreHelp = `
The machine is made of what it was made of: CPUs, memory, disks, network cards, entropy. Its disks must hold what they held
when the snapshot was taken. All files of the snapshot are checked first, and must stay as they are while it runs: its memory
is read from them when the guest needs it.

The terminal and the exit codes are those of colo-vmm run.

Examples:
  colo-vmm snapshot --vm web --stop web.snap
  colo-vmm restore web.snap --name web
  colo-vmm restore web.snap --disk id=root,path=copy.img --net tap=tap7
  colo-vmm restore web.snap --paused`;

/** Commands that talk to a running machine. */
const machineCommands = [
  ['status', 'tell what a running machine is made of and does'],
  ['pause', 'let a running machine stand still'],
  ['resume', 'let it go on'],
  ['stop', 'press its power button, and end it if its guest does not shut down in time'],
  ['reset', "reset it, which ends it with exit code 3 as its guest's own reboot does"],
] as const;

type MachineCommand = (typeof machineCommands)[number][0];

const machineFlags = [
  ['--vm <name>', 'name of the machine, or its process id if it has none; not needed while only one runs'],
  ['--control <path>', 'path of its control socket, instead of a name'],
  ['--json', 'print JSON'],
] as const;

function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}

/** What was given on the command line, by the flags' own names (commander would write cpuMask for cpu-mask). */
function flagsOf(command: Command): Record<string, string | string[]> & { config?: string } {
  const given = command.options.flatMap((option) => {
    const value: unknown = command.getOptionValue(option.attributeName());
    return value === undefined ? [] : [[option.name(), Array.isArray(value) ? value : String(value)]];
  });
  return Object.fromEntries(given);
}

/** Commander's own complaints, which come on several lines, as one of ours. */
function oneLine(complaint: string): string {
  const text = complaint
    .replace(/^error: /, '')
    .trim()
    .replaceAll('\n', ' ');
  return `colo-vmm: ${text} (--help lists what there is)\n`;
}

/** Errors for a user are sentences already; anything else is a defect of ours and shows where. */
function explain(error: Error): string {
  const expected = 'code' in error && typeof error.code === 'string';
  return expected ? error.message : `internal error, please report it\n${error.stack}`;
}
