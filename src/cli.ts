import { isatty } from 'node:tty';
import { Command, CommanderError } from 'commander';
import type { KeysOptions } from './colo/keys/keys-command.ts';
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
  2    the guest crashed: a triple fault, or a state that KVM cannot run
  3    the guest asked for a reboot, with --reboot exit
  4    the guest's kernel panicked (with --on-panic exit, and if it has a driver for pvpanic)
  128+n  ended by signal n (129 also when standard input closes)

Disks:
  werror sets what happens when a write fails: report it to the guest, stop the machine, or (enospc, the default)
  stop it when the host's disk is full and report all other errors. A stopped machine retries the write on colo-vmm resume.
  A flush that fails is always reported to the guest.
  path= is a raw disk; a file that looks like an image of another format is refused unless format=raw is given.
  sector= is the sector size that the guest sees (default 512, whatever the host's device has).
  With overlay=FILE the disk itself is only read, and FILE holds what the guest writes; it is made if it is not there.

Examples:
  colo-vmm run --kernel /boot/vmlinuz --initrd root.cpio --cmdline 'console=ttyS0 quiet' --memory 512M --cpus 2
  colo-vmm run --kernel vmlinuz --cmdline 'console=ttyS0 root=/dev/vda rw' --disk path=root.img --net tap=tap0`;

declare const __COLO_VMM_VERSION__: string;

/** Of package.json, which the build puts in; sources that run without a build are not a version of their own. */
const version = typeof __COLO_VMM_VERSION__ === 'string' ? __COLO_VMM_VERSION__ : 'development';

/** Reads the command line and does what it says; ends the process with the right exit code. */
export async function main(argv: readonly string[], program: URL): Promise<void> {
  let exitCode = 0;
  const terminals = standardDescriptors.filter(isatty);
  const cli = new Command('colo-vmm').description(description).version(version, '--version', 'print the version');
  cli.exitOverride().configureOutput({ writeErr: tell, outputError: (text) => tell(oneLine(text)) });

  const defineRun = (): void => {
    const run = cli.command('run').description('boot a guest; runs in the foreground until it ends');
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
      .description('resume a machine from a snapshot; runs in the foreground until it ends');
    for (const [key, argument, help] of restoreFlags) restore.option(`--${key} ${argument}`, help);
    for (const [key, argument, help] of restoredDeviceFlags) restore.option(`--${key} ${argument}`, help, collect);
    restore
      .option('--paused', 'restore it paused, until colo-vmm resume')
      .addHelpText('after', restoreHelp)
      .action(async (path: string, _options: unknown, command: Command) => {
        const { parseRestoreConfig } = await import('./vmm/command/restore-config.ts');
        const { restoreCommand } = await import('./vmm/command/restore-command.ts');
        exitCode = await restoreCommand(path, parseRestoreConfig(flagsOf(command)), program);
      });
  };

  const defineSnapshot = (): void => {
    const snapshot = cli
      .command('snapshot <path>')
      .description(
        'write the state and memory of a running machine to a file, for colo-vmm restore; its disks are not in it',
      );
    for (const [flag, text] of machineFlags) snapshot.option(flag, text);
    snapshot
      .option(
        '--incremental',
        'write only the pages changed since the last incremental snapshot; the first one is a full one',
      )
      .option('--stop', 'pause the machine first, and end it when the snapshot is written')
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
        'keep: the guest clock continues from where it was paused; jump: it is set to the current time',
        'keep',
      );
    }
    if (name === 'stop') {
      command
        .option('--timeout <seconds>', 'how long the guest may take to shut down', '20')
        .option('--force', 'end the machine at once, as if it lost power');
    }
    command.action(async () => {
      const client = await import('./vmm/client/client-commands.ts');
      await client[`${name}Command`](command.opts());
    });
  };

  const defineDoctor = (): void => {
    cli
      .command('doctor')
      .description('check what this host can and cannot do, and what to install')
      .option('--json', 'print the findings as JSON')
      .action(async (options: { json?: boolean }) => {
        const { doctor } = await import('./vmm/command/doctor.ts');
        exitCode = doctor(options.json === true);
      });
  };

  const defineKeys = (): void => {
    cli
      .command('keys <folder>')
      .description('make the keys by which the two hosts of a pair know each other')
      .requiredOption('--pair <name>', 'name of the pair')
      .requiredOption('--hosts <names>', 'names or addresses of the hosts, separated by commas')
      .option('--days <n>', 'how long the keys are valid', '3650')
      .addHelpText('after', keysHelp)
      .action(async (folder: string, options: KeysOptions) => {
        const { keysCommand } = await import('./colo/keys/keys-command.ts');
        for (const made of await keysCommand(folder, options)) process.stdout.write(`${made}\n`);
      });
  };

  const definitions: Readonly<Record<string, () => void>> = {
    run: defineRun,
    restore: defineRestore,
    snapshot: defineSnapshot,
    ...Object.fromEntries(machineCommands.map(([name, help]) => [name, () => defineMachineCommand(name, help)])),
    keys: defineKeys,
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

const rebootHelp =
  'reset or exit: whether a reset by the guest or by colo-vmm reset starts the guest again in the same process, or ends the machine (default reset)';
const onPanicHelp =
  'exit, pause or run: what to do when the kernel of the guest says that it panicked (default exit, with exit code 4)';

const runFlags: readonly (readonly [ConfigKey, string, string])[] = [
  ['kernel', '<file>', 'bzImage, or ELF vmlinux with a PVH entry'],
  ['initrd', '<file>', 'initial RAM disk'],
  ['cmdline', '<text>', 'kernel command line, in place of the default "console=ttyS0 panic=-1 ..."'],
  ['cpus', '<n>', 'virtual CPUs, 1 to 8 (default 1)'],
  [
    'memory',
    '<size>',
    'guest RAM, such as 256M or 2G (default 256M); ,shared=on backs it by a memfd that other programs can map',
  ],
  [
    'rng',
    '<source>',
    'virtio entropy device: host, seed=NUMBER (the same bytes at every start) or none (default none)',
  ],
  ['serial', '<target>', 'stdio[,eof=stop|ignore], file=PATH or none (default stdio)'],
  [
    'kaslr',
    '<on|off>',
    'load the kernel at a random virtual address (default off: the same address at every start; a kernel that unpacks itself is told nokaslr)',
  ],
  ['cpu-mask', '<names>', 'CPU features to hide from the guest, such as xsave,avx,avx2'],
  ['reboot', '<action>', rebootHelp],
  ['on-panic', '<action>', onPanicHelp],
  ['name', '<name>', 'name of the machine, and of its control socket (default: the process id)'],
  ['control', '<path>', 'path of the control socket (QMP), in place of the one for its name'],
];

/** Flags that may be given several times. */
const repeatedFlags: readonly (readonly [ConfigKey, string, string])[] = [
  [
    'disk',
    '<keys>',
    'virtio disk: path=FILE[,id=NAME][,readonly=on][,direct=on][,overlay=FILE][,werror=enospc|report|stop][,sector=512|4096][,format=raw]; may be repeated',
  ],
  [
    'net',
    '<keys>',
    'virtio network card: tap=NAME[,mac=ADDRESS][,mtu=BYTES][,offload=off][,bridge=NAME]; may be repeated',
  ],
];

const restoreFlags = [
  [
    'clock',
    '<mode>',
    'keep (default): the guest clock continues from the snapshot; jump: it is set to the current time',
  ],
  ['serial', '<target>', 'stdio[,eof=stop|ignore], file=PATH or none (default stdio)'],
  ['reboot', '<action>', rebootHelp],
  ['on-panic', '<action>', onPanicHelp],
  ['name', '<name>', 'name of the machine, and of its control socket (default: the process id)'],
  ['control', '<path>', 'path of the control socket (QMP), in place of the one for its name'],
] as const;

const restoredDeviceFlags = [
  [
    'disk',
    '<keys>',
    'replace keys of a disk in the snapshot, such as id=NAME,path=FILE (without id: the next disk); may be repeated',
  ],
  ['net', '<keys>', 'replace keys of a network card in the snapshot, in order, such as tap=NAME; may be repeated'],
] as const;

const snapshotHelp = `
The guest keeps running while its memory is written, and is paused only briefly at the end. The file replaces an older
snapshot of that name, and appears only once all of it is on the disk; if writing fails or the VMM dies, no file is left.
Interrupting this command does not interrupt the snapshot.

Disks are not in it: restore needs disks with the contents that they had at that moment. So end the machine with --stop,
or copy its disks while it is paused.

Restoring an incremental snapshot needs every file since the last full one. A full one is written automatically when one of
those files is gone or was replaced, or when there are 100. The report says which kind was written.

Examples:
  colo-vmm snapshot --stop web.snap
  colo-vmm snapshot --vm web --incremental monday.snap
  colo-vmm pause && cp --sparse=always root.img root.copy && colo-vmm snapshot web.snap && colo-vmm resume`;

const restoreHelp = `
The machine has the CPUs, memory, disks, network cards and entropy device that it had. Its disks must have the contents that
they had when the snapshot was taken. All files of the snapshot are verified first, and must not change while the machine
runs: guest memory is mapped from them and read on demand.

Terminal and exit codes are as with colo-vmm run.

Examples:
  colo-vmm snapshot --vm web --stop web.snap
  colo-vmm restore web.snap --name web
  colo-vmm restore web.snap --disk id=root,path=copy.img --net tap=tap7
  colo-vmm restore web.snap --paused`;

const keysHelp = `
Each host gets a folder with its private key, its certificate and the pair's authority: copy it to that host, readable by root
only, and name it there with --tls dir=. Whoever has it can take part in the pair.

FOLDER/authority signs them. It is needed again only to add a host: keep it where no host of the pair can read it.

Examples:
  colo-vmm keys --pair web --hosts a.example,b.example web-keys
  colo-vmm keys --pair web --hosts c.example web-keys             # a third one, later`;

/** Commands that talk to a running machine. */
const machineCommands = [
  ['status', 'show the state, CPUs, memory, disks and network cards of a running machine'],
  ['pause', 'pause a running machine'],
  ['resume', 'resume a paused machine'],
  ['stop', 'press the power button, and end the machine if its guest does not shut down in time'],
  ['reset', 'reset a machine: its guest starts again, or with --reboot exit the machine ends'],
] as const;

type MachineCommand = (typeof machineCommands)[number][0];

const machineFlags = [
  ['--vm <name>', 'name of the machine, or its process id; not needed while only one runs'],
  ['--control <path>', 'path of its control socket, in place of a name'],
  ['--json', 'print JSON'],
] as const;

function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}

/** What was given on the command line, by the flags' own names (commander would write cpuMask for cpu-mask). */
function flagsOf(command: Command): Record<string, string | boolean | string[]> & { config?: string } {
  const given = command.options.flatMap((option) => {
    const value: unknown = command.getOptionValue(option.attributeName());
    return value === undefined
      ? []
      : [[option.name(), typeof value === 'object' || typeof value === 'boolean' ? value : String(value)]];
  });
  return Object.fromEntries(given);
}

/** Commander's own complaints, which come on several lines, as one of ours. */
function oneLine(complaint: string): string {
  const text = complaint
    .replace(/^error: /, '')
    .trim()
    .replaceAll('\n', ' ');
  return `colo-vmm: ${text} (see --help)\n`;
}

/** Errors for a user are sentences already; anything else is a defect of ours and shows where. */
function explain(error: Error): string {
  const expected = 'code' in error && typeof error.code === 'string';
  return expected ? error.message : `internal error, please report it\n${error.stack}`;
}
