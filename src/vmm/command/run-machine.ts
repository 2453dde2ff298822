import { closeSync, openSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { FifoOutput } from '../../host/console/fifo-output.ts';
import { tell } from '../../host/console/tell.ts';
import type { BootPaths } from '../config/boot-paths.ts';
import { ConfigError, type SerialTarget } from '../config/config.ts';
import type { DiskConfig, NetConfig, RngConfig } from '../config/device-config.ts';
import { nameOfDisk } from '../config/device-config.ts';
import { SerialConsole } from '../console/console.ts';
import type { Machine } from '../machine/machine.ts';
import { controlPath } from '../monitor/control-directory.ts';
import { ControlSocket } from '../monitor/control-socket.ts';
import { Monitor, type SnapshotTaker } from '../monitor/monitor.ts';
import type { SnapshotConfig } from '../snapshot/snapshot-tail.ts';
import type { SnapshotOptions, SnapshotReport, Snapshotter } from '../snapshot/snapshotter.ts';
import { crashReport, describeEnd, exitCodeOf, type GuestEnd, snapshotStop } from '../vcpu/guest-end.ts';
import { type MachineProtection, ProtectionOnDemand, type Protector } from './protection.ts';
import { runSummary } from './run-summary.ts';
import { type StopHandler, StopSignals } from './stop-signals.ts';

/** Exit code when the owner of standard input went away: the same as for a hang-up. */
const inputClosedCode = 129;

/** How a machine is attended to, whatever it is made of. */
export interface Attendance {
  readonly serial: SerialTarget;
  readonly name?: string | undefined;
  readonly control?: string | undefined;
}

/** What a machine is made of, for its snapshots. */
export interface MachineParts {
  readonly disk: readonly DiskConfig[];
  readonly net: readonly NetConfig[];
  readonly rng: RngConfig;
  /** Absent: nobody knows. */
  readonly boot?: BootPaths | undefined;
}

/**
 * Stays with a machine, which `make` makes and starts, until it ends. The process's exit code.
 *
 * @param make rejects soon when the signal that it is given is aborted: the process was told to stop
 * @param protector who can protect it
 */
export async function runMachine(
  { serial, name, control: givenPath }: Attendance,
  parts: MachineParts,
  make: (stopping: AbortSignal) => Promise<Machine>,
  protector?: Protector,
): Promise<number> {
  const signals = new StopSignals();
  try {
    const control = await ControlSocket.claim(givenPath ?? controlPath(name ?? process.pid));
    try {
      const stopping = new AbortController();
      let stopped: Parameters<StopHandler> | undefined;
      signals.handleWith((...first) => {
        stopped = first;
        stopping.abort();
      });
      let machine: Machine;
      try {
        stopping.signal.throwIfAborted();
        machine = await make(stopping.signal);
      } catch (error) {
        if (stopped === undefined) throw error;
        const [signal, code] = stopped as Parameters<StopHandler>;
        tell(`colo-vmm: stopped by ${signal}, before the guest began\n`);
        return code;
      }
      const colo =
        protector && new ProtectionOnDemand(() => protector.make(machine, (text) => tell(`colo-vmm: ${text}\n`)));
      if (protector?.atOnce === true) await colo?.make();
      const snapshots = new Snapshots(machine, parts);
      const named = name === undefined ? {} : { name };
      control.serve(new Monitor(machine, { snapshots, ...named, ...(colo === undefined ? {} : { colo }) }));
      return await attendMachine(machine, { serial, snapshots, signals, colo });
    } finally {
      control.close();
    }
  } finally {
    signals.close();
  }
}

/** What a machine that runs is attended to with. */
export interface MachineAttendance {
  readonly serial: SerialTarget;
  readonly snapshots: Snapshots;
  readonly signals: StopSignals;
  readonly colo: Pick<MachineProtection, 'close'> | undefined;
}

/** Stays with a machine that runs until it ends, and closes it. The process's exit code. */
export async function attendMachine(
  machine: Machine,
  { serial, snapshots, signals, colo }: MachineAttendance,
): Promise<number> {
  try {
    signals.handleWith((signal, code) => machine.stop(signal, code, true));
    const { end, consoleTail } = await attend(machine, serial);
    const summary = runSummary(machine, process.uptime());
    for (const line of [describeEnd(end), ...crashReport(end, consoleTail), summary]) {
      tell(`colo-vmm: ${line}\n`);
    }
    return exitCodeOf(end);
  } finally {
    await colo?.close();
    await snapshots.close();
    await machine.close();
  }
}

/** Takes a machine's snapshots. What that needs is loaded for the first one: most machines have none. */
export class Snapshots implements SnapshotTaker {
  readonly #machine: Machine;
  readonly #parts: MachineParts;
  #snapshotter: Snapshotter | undefined;

  constructor(machine: Machine, parts: MachineParts) {
    this.#machine = machine;
    this.#parts = parts;
  }

  async take(path: string, options?: SnapshotOptions): Promise<SnapshotReport> {
    const { Snapshotter } = await import('../snapshot/snapshotter.ts');
    this.#snapshotter ??= new Snapshotter(this.#machine, snapshotConfig(this.#machine, this.#parts));
    return this.#snapshotter.take(path, options);
  }

  /** On return none is being taken any more. */
  async close(): Promise<void> {
    await this.#snapshotter?.close();
  }
}

/** With what was left open by the configuration as it was decided; it is read elsewhere, so paths begin at the root. */
function snapshotConfig(machine: Machine, { disk, net, rng, boot }: MachineParts): SnapshotConfig {
  const { cards } = machine.facts;
  return {
    cpus: machine.shape.cpus,
    disk: disk.map((config, index) => ({
      ...config,
      id: nameOfDisk(config, index),
      path: resolve(config.path),
      ...(config.overlay === undefined ? {} : { overlay: resolve(config.overlay) }),
    })),
    net: net.map((config, index) => ({ ...config, mac: cards[index]?.mac ?? config.mac })),
    rng,
    ...(boot === undefined ? {} : { boot: rooted(boot) }),
  };
}

function rooted({ kernel, initrd, ...rest }: BootPaths): BootPaths {
  return { kernel: resolve(kernel), ...(initrd === undefined ? {} : { initrd: resolve(initrd) }), ...rest };
}

/** Connects the console and waits for the machine's end. */
async function attend(machine: Machine, serial: SerialTarget): Promise<{ end: GuestEnd; consoleTail: string }> {
  const output = serial.kind === 'stdio' ? 1 : openOutput(serial.kind === 'file' ? serial.path : '/dev/null');
  const console = new SerialConsole(
    machine.serial,
    machine.serialBell,
    output,
    () => machine.state === 'paused' || machine.state === 'colo',
  );
  machine.onPaused = () => console.settle();
  let end: GuestEnd | undefined;
  try {
    if (serial.kind === 'stdio') {
      console.attachInput({
        end: () => machine.stop('Ctrl-A x', 0),
        pressPowerButton: () => machine.pressPowerButton(),
        inputClosed: () => {
          if (serial.eof === 'stop') machine.stop('the end of standard input', inputClosedCode, true);
        },
      });
    }
    end = await machine.ended;
  } finally {
    // The machine that goes on from a snapshot has what was not printed.
    console.close(!(end?.kind === 'stopped' && end.by === snapshotStop));
    if (typeof output === 'number' && output !== 1) closeSync(output);
  }
  return { end, consoleTail: console.tail };
}

function openOutput(path: string): number | FifoOutput {
  try {
    // Opening a named pipe would wait for a reader.
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO() === true) return new FifoOutput(path);
    return openSync(path, 'a');
  } catch (error) {
    throw new ConfigError(`--serial file=${path}: ${(error as Error).message}`);
  }
}
