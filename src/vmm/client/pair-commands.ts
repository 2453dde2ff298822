import { resolve } from 'node:path';
import * as v from 'valibot';
import { printable } from '../../host/console/tell.ts';
import type { ColoEvent, ColoStatus } from '../monitor/colo-control.ts';
import type { MachineConnection } from './machine-connection.ts';
import { checked } from './machine-status.ts';
import { backupReport, pairEvent, pairEvents, pairStatus } from './pair-answers.ts';
import { renderEvent } from './pair-status.ts';
import { MonitorError } from './qmp-client.ts';
import { size } from './quantities.ts';
import { type ClientOptions, endWithReader, later, print, withMachine } from './with-machine.ts';

/** Flags of `protect`, as given. */
export interface ProtectFlags extends ClientOptions {
  readonly standby?: string;
  readonly listen?: string;
  readonly arbiter?: string;
  readonly tls?: string;
  readonly insecure?: boolean;
  readonly name?: string;
  readonly state?: string;
  readonly detection?: string;
  readonly checkpointDelay?: string;
  readonly mode?: string;
  readonly flow?: readonly string[];
}

export interface FailoverOptions extends ClientOptions {
  readonly iAmSure?: boolean;
}

export interface EventsOptions extends ClientOptions {
  readonly follow?: boolean;
  readonly all?: boolean;
}

/** A machine is asked how far it is this often. */
const periodMs = 250;
/** As {@link periodMs}, where it takes no longer than a few checkpoints. */
const switchoverPeriodMs = 20;
/** A backup of large disks, to a slow one, takes its time. */
const backupPatienceMs = 24 * 3_600_000;

/** Body of `colo-vmm protect`. It stays until the machine is protected; that goes on if it is interrupted. */
export async function protectCommand(flags: ProtectFlags): Promise<void> {
  const given = {
    standby: flags.standby,
    listen: flags.listen,
    arbiter: flags.arbiter === undefined ? undefined : rootedArbiter(flags.arbiter),
    tls: flags.tls?.replace(/^dir=(.+)$/s, (_, folder: string) => `dir=${resolve(folder)}`),
    insecure: flags.insecure,
    name: flags.name,
    state: flags.state === undefined ? undefined : resolve(flags.state),
    'detection-ms': milliseconds('detection', flags.detection),
    'checkpoint-delay-ms': milliseconds('checkpoint-delay', flags.checkpointDelay),
    mode: flags.mode,
    flow: flags.flow,
  };
  if (given.standby === undefined) throw new MonitorError('--standby is missing: give HOST:PORT of the standby');
  if (given.arbiter === undefined) {
    throw new MonitorError(
      '--arbiter is missing: when the hosts lose each other, somebody has to say which one goes on. Give etcd:URL, file:FOLDER, or manual',
    );
  }
  const hear = (event: ColoEvent): void => {
    if (!flags.json) print(renderEvent(event));
  };
  await withMachine(
    flags,
    async (machine, shutdown) => {
      await machine.ask('x-colo-protect', given);
      const ended = shutdown.then((): never => {
        throw new MonitorError(`${machine.path}: the machine has ended`);
      });
      const found = await Promise.race([ended, protection(machine, flags.json === true)]);
      if (flags.json) print(JSON.stringify(found));
    },
    listener(hear),
  );
}

/** Waits until the machine is protected. @throws MonitorError with the reason why it is not */
async function protection(machine: MachineConnection, quiet: boolean): Promise<ColoStatus> {
  let shown = '';
  for (;;) {
    const status = await pairOf(machine);
    if (status?.headline === 'PROTECTED') return status;
    // It has been connecting since the order was taken: this attempt is over.
    if (status?.phase === 'unprotected') {
      throw new MonitorError(`the machine is not protected: ${printable(status.why)}`);
    }
    const progress = status === undefined ? '' : progressOf(status);
    if (progress !== shown && progress !== '' && !quiet) print(progress);
    shown = progress;
    await later(periodMs);
  }
}

/** How far the disks are, in whole percents. */
function progressOf({ disk }: ColoStatus): string {
  const { synchronising: sync } = disk ?? {};
  if (sync === undefined || sync.totalBytes === 0) return '';
  const percent = Math.floor((100 * sync.comparedBytes) / sync.totalBytes);
  return `disks: ${percent - (percent % 10)} % of ${size(sync.totalBytes)} compared`;
}

/** Body of `colo-vmm unprotect`. */
export async function unprotectCommand(options: ClientOptions): Promise<void> {
  await order(options, 'x-colo-unprotect', {}, 'the machine is not protected any more');
}

/** Body of `colo-vmm checkpoint`. */
export async function checkpointCommand(options: ClientOptions): Promise<void> {
  await order(options, 'x-colo-checkpoint', {}, 'a checkpoint is being made');
}

/** Phases of a primary that hands its guest over, to the end. */
const switching: ReadonlySet<string> = new Set(['protected', 'handing-over', 'handed-over', 'ended']);

/**
 * Body of `colo-vmm switchover`. It stays until the guest runs on the other host. That the machine is gone does not tell so: its guest may
 * have been shut down, or its process killed.
 */
export async function switchoverCommand(options: ClientOptions): Promise<void> {
  let isHandedOver = false;
  const hear = ({ event }: ColoEvent): void => {
    if (event === 'switchover') isHandedOver = true;
  };
  await withMachine(
    options,
    async (machine) => {
      await machine.ask('x-colo-switchover');
      for (;;) {
        const status = await machine.unlessEnded(pairOf(machine));
        if (status === undefined) break;
        if (status.phase === 'handed-over') isHandedOver = true;
        if (!switching.has(status.phase)) {
          throw new MonitorError(`the roles were not changed: ${printable(status.why)}; see colo-vmm status`);
        }
        await later(switchoverPeriodMs);
        // What has come meanwhile is read first: a question to a machine that has ended fails, and what it said last is lost with it.
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (!isHandedOver) {
        throw new MonitorError(
          'the machine has ended before the roles were changed; see colo-vmm status on the other host',
        );
      }
      print(
        options.json ? JSON.stringify({ switchedOver: true }) : 'the guest runs on the other host; here it has ended',
      );
    },
    listener(hear),
  );
}

/** Body of `colo-vmm backup`. It goes on if this is interrupted; `status` says how far it is. */
export async function backupCommand(path: string, options: ClientOptions): Promise<void> {
  await withMachine(options, async (machine) => {
    const answer = await machine.ask('x-colo-backup', { path: resolve(path) }, backupPatienceMs);
    const report = v.parse(backupReport, answer);
    const { epoch, totalBytes, writtenBytes } = report;
    if (options.json) print(JSON.stringify(report));
    else
      print(
        `${report.path} holds the disks as of epoch ${epoch}: ${size(totalBytes)}, of which ${size(writtenBytes)} in use`,
      );
  });
}

/** Body of `colo-vmm failover`. */
export async function failoverCommand({ iAmSure = false, ...options }: FailoverOptions): Promise<void> {
  await order(options, 'x-colo-failover', { sure: iAmSure }, 'this side goes on alone if it may: see colo-vmm status');
}

async function order(options: ClientOptions, command: string, given: object, done: string): Promise<void> {
  await withMachine(options, async (machine) => {
    await machine.ask(command, given);
    if (options.json) print(JSON.stringify((await pairOf(machine)) ?? {}));
    else print(done);
  });
}

/** Body of `colo-vmm events`. */
export async function eventsCommand({ follow = false, all = false, ...options }: EventsOptions): Promise<void> {
  const show = (event: ColoEvent): void => print(options.json ? JSON.stringify(event) : renderEvent(event));
  const heard: ColoEvent[] = [];
  let hear = (event: ColoEvent): void => {
    heard.push(event);
  };
  await withMachine(
    options,
    async (machine, shutdown) => {
      const events = await eventsOf(machine, all);
      for (const event of events) show(event);
      if (!follow) return;
      endWithReader();
      if (all) {
        await followAll(machine, events, show);
        return;
      }
      // What was heard while the answer was on its way may be in it.
      for (const event of newerThan(events.at(-1), heard)) show(event);
      hear = show;
      await shutdown;
    },
    listener((event) => hear(event)),
  );
}

/** Nobody is told of each message: there are hundreds a second. So they are asked for. */
async function followAll(
  machine: MachineConnection,
  shown: readonly ColoEvent[],
  show: (event: ColoEvent) => void,
): Promise<void> {
  let last = shown.at(-1);
  for (;;) {
    await later(periodMs);
    const events = await machine.unlessEnded(eventsOf(machine, true));
    if (events === undefined) return;
    for (const event of newerThan(last, events)) {
      show(event);
      last = event;
    }
  }
}

/** Those behind `last`, which may not be kept any more. */
export function newerThan(last: ColoEvent | undefined, events: readonly ColoEvent[]): readonly ColoEvent[] {
  if (last === undefined) return events;
  const index = events.findLastIndex((event) => isSame(event, last));
  return index === -1 ? events.filter(({ monotonicMs }) => monotonicMs > last.monotonicMs) : events.slice(index + 1);
}

function isSame(one: ColoEvent, other: ColoEvent): boolean {
  return one.monotonicMs === other.monotonicMs && one.topic === other.topic && one.text === other.text;
}

async function eventsOf(machine: MachineConnection, all: boolean): Promise<ColoEvent[]> {
  return checked(machine, pairEvents, await machine.ask('x-colo-events', { all }));
}

async function pairOf(machine: MachineConnection): Promise<ColoStatus | undefined> {
  return checked(machine, pairStatus, await machine.ask('x-colo-status'));
}

/** Takes the pair's events out of QMP's. */
function listener(hear: (event: ColoEvent) => void): (name: string, data: unknown) => void {
  return (name, data) => {
    if (name === 'X_COLO_EVENT' && v.is(pairEvent, data)) hear(data);
  };
}

/** The machine reads files from elsewhere. */
function rootedArbiter(arbiter: string): string {
  if (/^file:./s.test(arbiter)) return `file:${resolve(arbiter.slice('file:'.length))}`;
  return arbiter.replace(
    /([:,](?:password-file|cacert|cert|key)=)([^,]+)/g,
    (_, key: string, file: string) => `${key}${resolve(file)}`,
  );
}

function milliseconds(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new MonitorError(`--${flag} ${text}: give a number of milliseconds`);
  return Number(text);
}
