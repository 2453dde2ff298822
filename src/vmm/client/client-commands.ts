import { resolve } from 'node:path';
import * as v from 'valibot';
import { type MachineConnection, within } from './machine-connection.ts';
import { type MachineStatus, renderStatus, stateOf, statusOf } from './machine-status.ts';
import { MonitorError } from './qmp-client.ts';
import { watchStatus } from './watch-status.ts';
import { type ClientOptions, print, withMachine } from './with-machine.ts';

export interface StatusOptions extends ClientOptions {
  readonly watch?: boolean;
  /** Show why the guests of a pair did not agree, too. */
  readonly why?: boolean;
}

export interface StopOptions extends ClientOptions {
  /** Seconds that the guest gets to shut down. */
  readonly timeout: string;
  readonly force?: boolean;
}

export interface ResumeOptions extends ClientOptions {
  /** What becomes of the time that the machine was paused. */
  readonly clock: string;
}

export interface SnapshotOptions extends ClientOptions {
  readonly incremental?: boolean;
  readonly stop?: boolean;
}

/** A snapshot of much memory, on a slow disk, takes its time. */
const snapshotPatienceMs = 3_600_000;

const snapshotReport = v.object({
  path: v.string(),
  base: v.nullable(v.string()),
  'ram-bytes': v.number(),
  'pause-ms': v.number(),
});

/** A protected machine's end takes its last checkpoint. */
const orderlyEndMs = 10_000;
const heldLookMs = 50;

/** Whoever asks how things are wants to know within a second, whatever hangs. */
const statusPatienceMs = 900;

/** Body of `colo-vmm status`. */
export async function statusCommand(options: StatusOptions): Promise<void> {
  if (options.watch) {
    await withMachine(options, async (machine, shutdown) => {
      await watchStatus(machine, options);
      return tellEnd(machine, await shutdown, options);
    });
    return;
  }
  const show = async (machine: MachineConnection): Promise<void> => {
    const status = await statusOf(machine);
    if (options.json) print(JSON.stringify(status, null, 2));
    else for (const line of renderStatus(status, options)) print(line);
  };
  await withMachine(options, show, undefined, { totalMs: statusPatienceMs });
}

/** Body of `colo-vmm pause`. */
export async function pauseCommand(options: ClientOptions): Promise<void> {
  await withMachine(options, async (machine) => {
    await machine.ask('stop');
    await tellState(machine, options);
  });
}

/** Body of `colo-vmm resume`. */
export async function resumeCommand({ clock, ...options }: ResumeOptions): Promise<void> {
  if (clock !== 'keep' && clock !== 'jump') throw new MonitorError(`--clock ${clock}: give keep or jump`);
  await withMachine(options, async (machine) => {
    await machine.ask('cont', { 'x-clock': clock });
    await tellState(machine, options);
  });
}

/** Body of `colo-vmm snapshot`. */
export async function snapshotCommand(path: string, options: SnapshotOptions): Promise<void> {
  const { incremental = false, stop = false } = options;
  await withMachine(options, async (machine) => {
    const answer = await machine.ask('x-snapshot', { path: resolve(path), incremental, stop }, snapshotPatienceMs);
    const report = v.parse(snapshotReport, answer);
    if (stop && !(await machine.ended())) {
      throw new MonitorError(
        `${machine.path}: the snapshot is there and the machine has ended, but its process does not exit`,
      );
    }
    if (options.json) print(JSON.stringify(report));
    else print(describeSnapshot(report, stop));
  });
}

function describeSnapshot(report: v.InferOutput<typeof snapshotReport>, stop: boolean): string {
  const what = report.base === null ? 'all of the machine' : `what changed since ${report.base}`;
  const kibibytes = report['ram-bytes'] / 1024;
  const size = kibibytes < 10_000 ? `${kibibytes} KiB` : `${(kibibytes / 1024).toFixed(0)} MiB`;
  const then = stop ? 'the machine has ended' : `the guest was paused for ${report['pause-ms'].toFixed(1)} ms`;
  return `${report.path} holds ${what}, with ${size} of memory; ${then}`;
}

/** Body of `colo-vmm reset`. */
export async function resetCommand(options: ClientOptions): Promise<void> {
  await withMachine(options, async (machine, shutdown) => {
    await machine.ask('system_reset');
    const status = await statusAfterReset(machine, shutdown);
    if (typeof status === 'string' || status.state === 'shutdown') return tellEnd(machine, await shutdown, options);
    const { name, state, pid } = status;
    if (options.json) print(JSON.stringify({ ...(name === undefined ? {} : { name }), pid, state, reset: true }));
    else print(`machine ${name ?? pid} was reset, and is ${state}`);
  });
}

/** It is there again, unless a reset ends it: then it does not answer any more, or is held until its standby has the last of it. */
async function statusAfterReset(
  machine: MachineConnection,
  shutdown: Promise<string>,
): Promise<MachineStatus | string> {
  const deadline = performance.now() + orderlyEndMs;
  for (;;) {
    const status = await Promise.race([shutdown, statusOf(machine).catch(() => shutdown)]);
    if (typeof status === 'string' || status.state !== 'colo' || performance.now() > deadline) return status;
    const end = await within(shutdown, heldLookMs);
    if (end !== undefined) return end;
  }
}

/** Body of `colo-vmm stop`: the power button, and the plug if that is not enough. */
export async function stopCommand(options: StopOptions): Promise<void> {
  const graceMs = 1000 * secondsOf(options.timeout);
  await withMachine(options, async (machine, shutdown) => {
    if (options.force) {
      await machine.ask('quit');
      return tellEnd(machine, await shutdown, options);
    }
    const state = await stateOf(machine);
    if (state !== 'running') {
      const why =
        state === 'colo' || state === 'inmigrate'
          ? 'no guest runs here that could shut down; end it with --force'
          : `the machine is ${state}, and its guest cannot shut down; resume it first, or stop it with --force`;
      throw new MonitorError(`${machine.path}: ${why}`);
    }
    await machine.ask('system_powerdown');
    const inTime = await within(shutdown, graceMs);
    // It may still end by itself while it is being told to.
    const reason = inTime ?? (await Promise.race([shutdown, machine.ask('quit').then(() => shutdown)]));
    if (inTime === undefined && !options.json) print(`the guest did not shut down within ${options.timeout} s`);
    return tellEnd(machine, reason, options);
  });
}

function secondsOf(text: string): number {
  if (!/^\d{1,6}(\.\d+)?$/.test(text)) throw new MonitorError(`--timeout ${text}: give a number of seconds`);
  return Number(text);
}

async function tellState(machine: MachineConnection, { json }: ClientOptions): Promise<void> {
  const { name, state, pid } = await statusOf(machine);
  if (json) print(JSON.stringify({ ...(name === undefined ? {} : { name }), pid, state }));
  else print(`machine ${name ?? pid} is ${state}`);
}

/** What became of a machine, by QMP's reason. */
const ends: Readonly<Record<string, string>> = {
  'guest-shutdown': 'the guest shut down',
  'guest-reset': 'the guest asked for a reboot',
  'guest-panic': 'the guest crashed',
  'host-qmp-quit': 'the machine was ended without its guest',
  'host-qmp-system-reset': 'the machine was reset, which ends it with exit code 3',
  'host-signal': 'its VMM was ended by a signal',
  'host-ui': 'its VMM has ended, and says why in its log',
  killed: 'its VMM was killed',
};

/** Waits for the VMM's end, so that whoever comes after this command finds its disks free. */
async function tellEnd(machine: MachineConnection, reason: string, { json }: ClientOptions): Promise<void> {
  if (!(await machine.ended()))
    throw new MonitorError(`${machine.path}: the machine has ended, but its process does not exit`);
  if (json) print(JSON.stringify({ ended: true, reason }));
  else print(ends[reason] ?? `the machine has ended: ${reason}`);
}
