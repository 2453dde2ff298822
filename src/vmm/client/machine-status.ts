import * as v from 'valibot';
import type { ColoStatus } from '../monitor/colo-control.ts';
import type { MachineInfo, StatusInfo } from '../monitor/qmp-queries.ts';
import type { MachineConnection } from './machine-connection.ts';
import { pairStatusInTime, type UnknownPair } from './pair-answers.ts';
import { type Fact, renderPair } from './pair-status.ts';
import { MonitorError } from './qmp-client.ts';
import { duration, size } from './quantities.ts';
import { renderDivergences } from './why-status.ts';

export interface StatusDetail {
  /** The last times that the two guests of a pair did not agree, too. */
  readonly why?: boolean;
}

/** What `status --json` prints. */
export interface MachineStatus {
  readonly name?: string;
  /** QMP's word for it: running, paused, io-error, ... */
  readonly state: string;
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** What the guest's clock still has to catch up with, after `--clock jump`. */
  readonly clockBehindMs: number;
  readonly disks: readonly {
    readonly id: string;
    readonly path: string;
    readonly overlay?: string;
    readonly sizeBytes: number;
    readonly readOnly: boolean;
    readonly ioStatus: string;
  }[];
  readonly cards: readonly { readonly tap: string; readonly mac: string; readonly gone: boolean }[];
  readonly control: string;
  /** Absent: it was never in a pair, or nobody knows. */
  readonly colo?: ColoStatus;
  /** Why nothing is known of its pair. */
  readonly coloUnknown?: string;
}

const count = v.pipe(v.number(), v.minValue(0));
const text = v.string();

const status = v.object({ status: text }) satisfies v.GenericSchema<Pick<StatusInfo, 'status'>>;

const machineInfo = v.object({
  name: v.exactOptional(text),
  pid: count,
  'uptime-seconds': count,
  cpus: count,
  'memory-bytes': count,
  'clock-behind-ms': count,
  disks: v.array(
    v.object({
      id: text,
      path: text,
      overlay: v.exactOptional(text),
      'size-bytes': count,
      'read-only': v.boolean(),
      'io-status': text,
    }),
  ),
  cards: v.array(v.object({ tap: text, mac: text, gone: v.boolean() })),
}) satisfies v.GenericSchema<unknown, MachineInfo>;

/** Asks a machine for its state. @throws MonitorError */
export async function stateOf(machine: MachineConnection): Promise<string> {
  return checked(machine, status, await machine.ask('query-status')).status;
}

/** The thread that protects a machine is not waited for any longer than this. */
const pairWithinMs = 500;

/** Asks a machine for all there is to know. @throws MonitorError */
export async function statusOf(machine: MachineConnection): Promise<MachineStatus> {
  const state = await stateOf(machine);
  const info = checked(machine, machineInfo, await machine.ask('x-query-machine'));
  const pair = checked(machine, pairStatusInTime, await machine.ask('x-colo-status', { 'within-ms': pairWithinMs }));
  const { name, pid, cpus, disks, cards } = info;
  return {
    ...(name === undefined ? {} : { name }),
    state,
    pid,
    uptimeSeconds: info['uptime-seconds'],
    cpus,
    memoryBytes: info['memory-bytes'],
    clockBehindMs: info['clock-behind-ms'],
    disks: disks.map(({ id, path, overlay, ...rest }) => ({
      id,
      path,
      ...(overlay === undefined ? {} : { overlay }),
      sizeBytes: rest['size-bytes'],
      readOnly: rest['read-only'],
      ioStatus: rest['io-status'],
    })),
    cards,
    control: machine.path,
    ...pairFacts(pair),
  };
}

function pairFacts(pair: ColoStatus | UnknownPair | undefined): Pick<MachineStatus, 'colo' | 'coloUnknown'> {
  if (pair === undefined) return {};
  return 'unknown' in pair ? { coloUnknown: pair.unknown } : { colo: pair };
}

/** What a machine says, as `schema` has it. @throws MonitorError if it is something else */
export function checked<Schema extends v.GenericSchema>(
  { path }: MachineConnection,
  schema: Schema,
  answer: unknown,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, answer);
  if (!result.success) throw new MonitorError(`${path}: answers, but not as colo-vmm does`);
  return result.output;
}

/** The same for a person, a fact a line: of its pair first, if it is in one. @param now ms since 1970 */
export function renderStatus(machine: MachineStatus, options: StatusDetail = {}, now = Date.now()): string[] {
  return [...pairLines(machine, options, now), ...renderMachine(machine)];
}

function pairLines({ colo, coloUnknown }: MachineStatus, { why = false }: StatusDetail, now: number): string[] {
  if (colo === undefined) return why && coloUnknown === undefined ? ['This machine is in no pair.', ''] : [];
  return [...renderPair(colo, now), '', ...(why ? [...renderDivergences(colo, now), ''] : [])];
}

function renderMachine(machine: MachineStatus): string[] {
  const facts = machineFacts(machine);
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, fact]) => `${name.padEnd(width)}  ${fact}`);
}

/** The machine itself for a person, without its pair. */
export function machineFacts(machine: MachineStatus): Fact[] {
  return [
    ['name', machine.name ?? '(none)'],
    ['state', machine.state],
    ...(machine.coloUnknown === undefined
      ? []
      : [['pair', `UNKNOWN: ${machine.coloUnknown}; it hangs, or is very busy: ask the other side`] as const]),
    ['pid', String(machine.pid)],
    ['uptime', duration(machine.uptimeSeconds)],
    ['vCPUs', String(machine.cpus)],
    ['memory', size(machine.memoryBytes)],
    ...(machine.clockBehindMs === 0
      ? []
      : [['clock', `catches up, ${duration(Math.ceil(machine.clockBehindMs / 1000))} behind`] as const]),
    ...machine.disks.map(({ id, path, overlay, sizeBytes, readOnly, ioStatus }) => {
      const words = [
        overlay === undefined ? path : `${overlay} over ${path}`,
        size(sizeBytes),
        ...(readOnly ? ['read only'] : []),
        ...(ioStatus === 'ok' ? [] : [ioStatus === 'nospace' ? "the host's disk is full" : 'a write failed']),
      ];
      return [`disk ${id}`, words.join(', ')] as const;
    }),
    ...machine.cards.map(({ tap, mac, gone }) => [`card ${tap}`, gone ? `${mac}, its TAP was removed` : mac] as const),
    ['control', machine.control],
  ];
}
