import { readdirSync } from 'node:fs';
import { controlDirectory, controlPath, controlSuffix, requireOwnDirectory } from '../monitor/control-directory.ts';
import { ConnectError, connected } from './machine-connection.ts';
import { MonitorError } from './qmp-client.ts';

/** How a command line names a machine: by its name, by its socket, or not at all. */
export interface MachineChoice {
  readonly vm?: string;
  readonly control?: string;
}

/** The control socket of the machine that is meant. @throws MonitorError if that is none, or not clear */
export async function chooseMachine({ vm, control }: MachineChoice): Promise<string> {
  if (vm !== undefined && control !== undefined) {
    throw new MonitorError('--vm and --control both name a machine; give one of them');
  }
  if (control !== undefined) return control;
  const running = await runningMachines();
  if (vm !== undefined) {
    if (running.includes(vm)) return controlPath(vm);
    throw new MonitorError(
      running.length > 0
        ? `--vm ${vm}: no machine of that name runs; there are ${running.join(', ')}`
        : `--vm ${vm}: ${noMachine}`,
    );
  }
  const [only] = running;
  if (only === undefined) throw new MonitorError(noMachine);
  if (running.length > 1) throw new MonitorError(`several machines run; say which with --vm: ${running.join(', ')}`);
  return controlPath(only);
}

const noMachine = 'no machine runs; start one with colo-vmm run --kernel FILE, or name its socket with --control PATH';

/** Names of this user's machines, as far as their sockets lie where they do by default. */
export async function runningMachines(): Promise<string[]> {
  const names = socketNames();
  const running = await Promise.all(names.map((name) => isServed(controlPath(name))));
  return names.filter((_, index) => running[index]);
}

function socketNames(): string[] {
  const directory = controlDirectory();
  try {
    requireOwnDirectory(directory);
    return readdirSync(directory)
      .filter((name) => name.endsWith(controlSuffix))
      .map((name) => name.slice(0, -controlSuffix.length))
      .sort();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw new MonitorError(code === 'EACCES' ? `${directory}: no permission to look there` : message);
  }
}

/** One that was left behind by a VMM that was killed is not; one that cannot be reached for another reason may be. */
async function isServed(path: string): Promise<boolean> {
  try {
    (await connected(path)).destroy();
    return true;
  } catch (error) {
    return !(error instanceof ConnectError && ['ENOENT', 'ECONNREFUSED', 'ENOTSOCK'].includes(error.reason));
  }
}
