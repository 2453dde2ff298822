import { isatty } from 'node:tty';
import { Command, CommanderError } from 'commander';
import type { WatchedConfig } from './colo/command/watched.ts';
import type { KeysOptions } from './colo/keys/keys-command.ts';
import {
  deviceFlags,
  type Flag,
  flowFlag,
  machineFlags,
  protectFlags,
  restoredDeviceFlags,
  restoreFlags,
  runFlags,
  standbyFlags,
} from './command-line/flags.ts';
import {
  backupHelp,
  eventsHelp,
  failoverHelp,
  keysHelp,
  protectHelp,
  restoreHelp,
  runHelp,
  snapshotHelp,
  standbyHelp,
  statusHelp,
  switchoverHelp,
} from './command-line/help.ts';
import { tell } from './host/console/tell.ts';
import type { Protector } from './vmm/command/protection.ts';
import type { RestoreConfig } from './vmm/command/restore-config.ts';
import type { RunConfig } from './vmm/config/config.ts';

const description = `A virtual machine monitor for KVM, in TypeScript.

  colo-vmm run --kernel vmlinuz --initrd root.cpio --memory 256M --cpus 2
  colo-vmm status
  colo-vmm doctor`;

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
    takeFlags(run, runFlags);
    takeFlags(run, [...deviceFlags, flowFlag], collect);
    run
      .option('--config <file>', 'read all of this from a JSON file with the same keys; flags win')
      .addHelpText('after', runHelp)
      .action(async (_options: unknown, command: Command) => {
        const { config: file, ...flags } = flagsOf(command);
        const { parseConfig } = await import('./vmm/config/config.ts');
        const parsed = parseConfig(flags, file);
        exitCode = await whileWatched(parsed, () => runGuest(parsed));
      });
  };

  const runGuest = async (parsed: RunConfig): Promise<number> => {
    if (parsed.standby === undefined && parsed['on-event'] === undefined) {
      const { runCommand } = await import('./vmm/command/run-command.ts');
      return runCommand(parsed, program, protectorOnDemand(parsed.name, program));
    }
    const { pairOptions, parsePrimary, primaryOptions } = await import('./colo/command/pair-config.ts');
    const pair =
      parsed.standby === undefined
        ? undefined
        : parsePrimary({ ...pairOptions(parsed), ...primaryOptions(parsed) }, true);
    const { protectedRunCommand } = await import('./colo/command/protected-run.ts');
    return protectedRunCommand(parsed, pair, program);
  };

  /** Runs a command that stays with a machine, with what is served of that meanwhile. */
  const whileWatched = async (config: WatchedConfig, run: () => Promise<number>): Promise<number> => {
    if (config.metrics === undefined && config.dashboard === undefined) return run();
    const { watched } = await import('./colo/command/watched.ts');
    return watched(config, program, run);
  };

  const defineStandby = (): void => {
    const standby = cli
      .command('standby')
      .description(
        'wait for the guest of another host, and take it over when that host is lost; runs in the foreground',
      );
    takeFlags(standby, standbyFlags);
    takeFlags(standby, deviceFlags, collect);
    standby
      .option('--config <file>', 'read all of this from a JSON file with the same keys; flags win')
      .addHelpText('after', standbyHelp)
      .action(async (_options: unknown, command: Command) => {
        const { config: file, ...flags } = flagsOf(command);
        const { parseStandbyConfig } = await import('./colo/command/standby-config.ts');
        const { standbyCommand } = await import('./colo/command/standby-command.ts');
        const parsed = parseStandbyConfig(flags, file);
        exitCode = await whileWatched(parsed, () => standbyCommand(parsed, program));
      });
  };

  const restoreGuest = async (path: string, parsed: RestoreConfig): Promise<number> => {
    if (parsed['on-event'] === undefined) {
      const { restoreCommand } = await import('./vmm/command/restore-command.ts');
      return restoreCommand(path, parsed, program);
    }
    const { toldRestoreCommand } = await import('./colo/command/told-restore.ts');
    return toldRestoreCommand(path, parsed, program);
  };

  const defineRestore = (): void => {
    const restore = cli
      .command('restore <snapshot>')
      .description('resume a machine from a snapshot; runs in the foreground until it ends');
    takeFlags(restore, restoreFlags);
    takeFlags(restore, restoredDeviceFlags, collect);
    restore
      .option('--paused', 'restore it paused, until colo-vmm resume')
      .addHelpText('after', restoreHelp)
      .action(async (path: string, _options: unknown, command: Command) => {
        const { parseRestoreConfig } = await import('./vmm/command/restore-config.ts');
        const parsed = parseRestoreConfig(flagsOf(command));
        exitCode = await whileWatched(parsed, () => restoreGuest(path, parsed));
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

  const defineBackup = (): void => {
    const backup = cli
      .command('backup <folder>')
      .description("copy a protected machine's disks, as of its last checkpoint, to a new folder; on its standby");
    for (const [flag, text] of machineFlags) backup.option(flag, text);
    backup.addHelpText('after', backupHelp).action(async (folder: string, _options: unknown, command: Command) => {
      const { backupCommand } = await import('./vmm/client/pair-commands.ts');
      await backupCommand(folder, command.opts());
    });
  };

  const defineMachineCommand = (name: MachineCommand, help: string): void => {
    const command = cli.command(name).description(help);
    for (const [flag, text] of machineFlags) command.option(flag, text);
    if (name === 'status') {
      command
        .option('--watch', 'show it again every second, until the machine ends')
        .option(
          '--why',
          'of a pair in comparing mode, show the last answers on which the two guests did not agree, too',
        )
        .addHelpText('after', statusHelp);
    }
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

  const definePairCommand = (name: PairCommand, help: string): void => {
    const command = cli.command(name).description(help);
    for (const [flag, text] of machineFlags) command.option(flag, text);
    if (name === 'protect') {
      takeFlags(command, protectFlags);
      takeFlags(command, [flowFlag], collect);
      command.addHelpText('after', protectHelp);
    }
    if (name === 'failover') {
      command
        .option('--i-am-sure', 'the other host is off, or cut off: this one goes on without asking the arbiter')
        .addHelpText('after', failoverHelp);
    }
    if (name === 'switchover') command.addHelpText('after', switchoverHelp);
    if (name === 'events') {
      command
        .option('--follow', 'stay, and print what happens until the machine ends')
        .option('--all', 'with checkpoints and messages')
        .addHelpText('after', eventsHelp);
    }
    command.action(async () => {
      const client = await import('./vmm/client/pair-commands.ts');
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
    standby: defineStandby,
    ...Object.fromEntries(pairCommands.map(([name, help]) => [name, () => definePairCommand(name, help)])),
    backup: defineBackup,
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
      // Some failures are told apart by whoever started the command.
      exitCode = error instanceof Error && 'exitCode' in error ? Number(error.exitCode) : 1;
    }
  }
  // Node aborts, with a core dump, if it cannot reset a terminal that it was started at (node::ResetStdio). One that has
  // gone is no reason for that.
  if (!terminals.every(isatty)) {
    const { exitAtOnce } = await import('./host/libc/process.ts');
    exitAtOnce(exitCode);
  }
  process.exit(exitCode);
}

const standardDescriptors = [0, 1, 2];

/** Protects a machine when somebody asks for it. What that takes is loaded then: most machines never are. */
function protectorOnDemand(name: string | undefined, program: URL): Protector {
  return {
    atOnce: false,
    make: async (machine, notice) => {
      const { protector } = await import('./colo/command/protected-run.ts');
      return protector(name, program).make(machine, notice);
    },
  };
}

/** Commands that talk to a running machine. */
const machineCommands = [
  ['status', 'show the state, CPUs, memory, disks and network cards of a running machine'],
  ['pause', 'pause a running machine'],
  ['resume', 'resume a paused machine'],
  ['stop', 'press the power button, and end the machine if its guest does not shut down in time'],
  ['reset', 'reset a machine: its guest starts again, or with --reboot exit the machine ends'],
] as const;

type MachineCommand = (typeof machineCommands)[number][0];

/** Those that are about its pair. */
const pairCommands = [
  ['protect', 'protect the guest of a running machine by a standby on another host'],
  ['unprotect', 'let the standby go; the guest runs on, unprotected'],
  ['checkpoint', 'make a checkpoint now'],
  ['switchover', 'change the roles in order: the guest runs on the standby, and this process ends'],
  ['failover', 'say that the other host is lost, and that this one goes on'],
  ['events', "show what happened to a machine's pair"],
] as const;

type PairCommand = (typeof pairCommands)[number][0];

function takeFlags(command: Command, flags: readonly Flag[], take?: typeof collect): void {
  for (const [key, argument, help] of flags) {
    const flag = argument === '' ? `--${key}` : `--${key} ${argument}`;
    if (take === undefined) command.option(flag, help);
    else command.option(flag, help, take);
  }
}

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
