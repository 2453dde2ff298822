import { closeSync, openSync } from 'node:fs';
import { type FileBytes, readFileBytes } from '../host/file-bytes.ts';
import { tell } from '../host/tell.ts';
import { ConfigError, type RunConfig, type SerialTarget } from './config.ts';
import { SerialConsole } from './console.ts';
import { controlPath } from './control-directory.ts';
import { ControlSocket } from './control-socket.ts';
import { crashReport, describeEnd, exitCodeOf, type GuestEnd } from './guest-end.ts';
import { hasHardwareVirtualisation, isLinux } from './hardware.ts';
import { Machine, type NamedBytes } from './machine.ts';
import { Monitor } from './monitor.ts';
import { runSummary } from './run-summary.ts';
import { StopSignals } from './stop-signals.ts';

/** Exit code when the owner of standard input went away: the same as for a hang-up. */
const inputClosedCode = 129;

/** Body of `colo-vmm run`: a machine from its configuration to its end. The process's exit code. */
export async function runCommand(config: RunConfig, program: URL): Promise<number> {
  const signals = new StopSignals();
  try {
    const path = config.control ?? controlPath(config.name ?? process.pid);
    const control = await ControlSocket.claim(path);
    try {
      const machine = boot(config, program);
      try {
        signals.handleWith((signal, code) => machine.stop(signal, code));
        control.serve(new Monitor(machine, config.name === undefined ? {} : { name: config.name }));
        const { end, consoleTail } = await attend(machine, config.serial);
        const summary = runSummary(machine, process.uptime());
        for (const line of [describeEnd(end), ...crashReport(end, consoleTail), summary]) {
          tell(`colo-vmm: ${line}\n`);
        }
        return exitCodeOf(end);
      } finally {
        await machine.close();
      }
    } finally {
      control.close();
    }
  } finally {
    signals.close();
  }
}

function boot(config: RunConfig, program: URL): Machine {
  const kernel = readImage('kernel', config.kernel);
  const initrd = config.initrd === undefined ? undefined : readImage('initrd', config.initrd);
  try {
    if (!hasHardwareVirtualisation() && isLinux(kernel.bytes)) {
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

/** Connects the console and waits for the machine's end. */
async function attend(machine: Machine, serial: SerialTarget): Promise<{ end: GuestEnd; consoleTail: string }> {
  const outputFd = serial.kind === 'stdio' ? 1 : openOutput(serial.kind === 'file' ? serial.path : '/dev/null');
  const console = new SerialConsole(machine.serial, machine.serialBell, outputFd);
  let end: GuestEnd;
  try {
    if (serial.kind === 'stdio') {
      console.attachInput({
        end: () => machine.stop('Ctrl-A x', 0),
        pressPowerButton: () => machine.pressPowerButton(),
        inputClosed: () => {
          if (serial.eof === 'stop') machine.stop('the end of standard input', inputClosedCode);
        },
      });
    }
    end = await machine.ended;
  } finally {
    console.close();
    if (outputFd !== 1) closeSync(outputFd);
  }
  return { end, consoleTail: console.tail };
}

function openOutput(path: string): number {
  try {
    return openSync(path, 'a');
  } catch (error) {
    throw new ConfigError(`--serial file=${path}: ${(error as Error).message}`);
  }
}
