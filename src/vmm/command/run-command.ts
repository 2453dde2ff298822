import { loadKernel } from '../../../firmware/load-kernel.ts';
import { type FileBytes, readFileBytes } from '../../host/file-bytes.ts';
import { tell } from '../../host/tell.ts';
import { rsdpAddress } from '../../memory/layout.ts';
import { Ram } from '../../memory/ram.ts';
import { ConfigError, type RunConfig } from '../config/config.ts';
import { Machine } from '../machine/machine.ts';
import type { NamedBytes } from '../machine/machine-shape.ts';
import { commandLineWarnings } from './command-line-warnings.ts';
import { hasHardwareVirtualisation, isLinux } from './hardware.ts';
import { runMachine } from './run-machine.ts';

/** Body of `colo-vmm run`: a machine from its configuration to its end. The process's exit code. */
export async function runCommand(config: RunConfig, program: URL): Promise<number> {
  return runMachine(config, config, () => boot(config, program));
}

function boot(config: RunConfig, program: URL): Machine {
  const kernel = readImage('kernel', config.kernel);
  const initrd = config.initrd === undefined ? undefined : readImage('initrd', config.initrd);
  try {
    for (const warning of commandLineWarnings(config.cmdline)) tell(`colo-vmm: ${warning}\n`);
    if (!hasHardwareVirtualisation() && isLinux(kernel.bytes)) {
      // A file that no processor would run is what has to be mended first.
      checkImages(config, kernel, initrd);
      throw new ConfigError(
        `--kernel ${config.kernel}: this machine's processor offers no hardware virtualisation, and without it KVM is ` +
          'far too slow for Linux. Turn it on in the firmware setup, or use the emulated lab: npm run lab -- --help',
      );
    }
    const machine = new Machine(
      {
        cpus: config.cpus,
        memoryBytes: config.memory.sizeBytes,
        backing: config.memory.backing,
        cpuMask: config['cpu-mask'],
        devices: { disks: config.disk, nets: config.net, rng: config.rng },
        onPanic: config['on-panic'],
      },
      program,
      (text) => tell(`colo-vmm: ${text}\n`),
    );
    try {
      machine.boot({
        kernel,
        ...(initrd === undefined ? {} : { initrd }),
        commandLine: config.cmdline,
        kaslr: config.kaslr === 'on',
      });
      return machine;
    } catch (error) {
      // Not awaited: the process is about to end, and the threads are parked.
      void machine.close();
      throw error;
    }
  } finally {
    kernel.close();
    initrd?.close();
  }
}

/** Loads the images into memory that nobody runs. @throws KernelImageError */
function checkImages(config: RunConfig, kernel: NamedBytes, initrd: NamedBytes | undefined): void {
  const ram = new Ram(config.memory.sizeBytes);
  try {
    loadKernel(ram.memory, { kernel, initrd, commandLine: config.cmdline, rsdp: rsdpAddress });
  } finally {
    ram.close();
  }
}

function readImage(flag: 'kernel' | 'initrd', path: string): NamedBytes & FileBytes {
  try {
    return { name: path, ...readFileBytes(path) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission to read it' : (error as Error).message;
    throw new ConfigError(`--${flag} ${path}: ${reason}`);
  }
}
