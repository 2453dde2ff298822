import { loadKernel } from '../../../firmware/load-kernel.ts';
import { tell } from '../../host/console/tell.ts';
import { rsdpAddress } from '../../memory/layout.ts';
import { Ram } from '../../memory/ram.ts';
import type { BootPaths } from '../config/boot-paths.ts';
import { ConfigError, type RunConfig } from '../config/config.ts';
import { Machine } from '../machine/machine.ts';
import type { OpenImages } from '../machine/machine-shape.ts';
import { BootFiles } from './boot-files.ts';
import { commandLineWarnings } from './command-line-warnings.ts';
import { hasHardwareVirtualisation, isLinux } from './hardware.ts';
import type { Protector } from './protection.ts';
import { runMachine } from './run-machine.ts';

/**
 * Body of `colo-vmm run`: a machine from its configuration to its end. The process's exit code.
 *
 * @param protector who can protect it
 */
export async function runCommand(config: RunConfig, program: URL, protector?: Protector): Promise<number> {
  const { kernel, initrd, cmdline, kaslr } = config;
  const boots: BootPaths = { kernel, initrd, cmdline, kaslr };
  return runMachine(
    config,
    { ...config, boot: boots },
    (stopping) => boot(config, boots, program, stopping, protector),
    protector,
  );
}

async function boot(
  config: RunConfig,
  boots: BootPaths,
  program: URL,
  stopping: AbortSignal,
  protector: Protector | undefined,
): Promise<Machine> {
  const files = new BootFiles(boots);
  try {
    const images = files.open();
    try {
      const machine = await start(config, images, program, stopping, protector);
      if (config.reboot === 'exit') files.close();
      else machine.rebootsFrom(files);
      return machine;
    } finally {
      images.close();
    }
  } catch (error) {
    files.close();
    throw error;
  }
}

async function start(
  config: RunConfig,
  images: OpenImages,
  program: URL,
  stopping: AbortSignal,
  protector: Protector | undefined,
): Promise<Machine> {
  for (const warning of commandLineWarnings(config.cmdline)) tell(`colo-vmm: ${warning}\n`);
  if (!hasHardwareVirtualisation() && isLinux(images.kernel.bytes)) {
    // A file that no processor would run is what has to be mended first.
    checkImages(config, images);
    throw new ConfigError(
      `--kernel ${config.kernel}: this machine's processor offers no hardware virtualisation, and without it KVM is ` +
        'far too slow for Linux. Turn it on in the firmware setup, or use the emulated lab: npm run lab -- --help',
    );
  }
  // Whoever begins in a pair asks its arbiter, and a mistake is found before.
  if (protector?.prepare !== undefined) checkImages(config, images);
  const machine = new Machine(
    {
      cpus: config.cpus,
      memoryBytes: config.memory.sizeBytes,
      backing: config.memory.backing,
      cpuMask: config['cpu-mask'],
      devices: {
        disks: config.disk,
        nets: config.net,
        rng: config.rng,
        keepsPairStamps: protector?.prepare !== undefined,
      },
      onPanic: config['on-panic'],
    },
    program,
    (text) => tell(`colo-vmm: ${text}\n`),
  );
  try {
    await protector?.prepare?.(machine, stopping);
    machine.boot(images);
    return machine;
  } catch (error) {
    // A process that exits while a thread still loads its program is aborted by the library that it loads.
    await machine.close();
    throw error;
  }
}

/** Loads the images into memory that nobody runs. @throws KernelImageError */
function checkImages(config: RunConfig, { kernel, initrd, commandLine }: OpenImages): void {
  const ram = new Ram(config.memory.sizeBytes);
  try {
    loadKernel(ram.memory, { kernel, initrd, commandLine, rsdp: rsdpAddress });
  } finally {
    ram.close();
  }
}
