import { statSync } from 'node:fs';
import type { CardFacts, DiskFacts } from '../machine/monitored-machine.ts';
import type { Monitor } from './monitor.ts';

/** What clients can ask, in the shapes of QEMU's schema. */

export interface StatusInfo {
  readonly running: boolean;
  readonly singlestep: false;
  readonly status: string;
}

export function queryStatus(monitor: Monitor): StatusInfo {
  return { running: monitor.machine.state === 'running', singlestep: false, status: monitor.status };
}

export function queryName({ name }: Monitor): { readonly name?: string } {
  return name === undefined ? {} : { name };
}

export interface CpuInfoFast {
  readonly 'cpu-index': number;
  readonly 'qom-path': string;
  readonly 'thread-id': number;
  readonly props: { readonly 'socket-id': number; readonly 'core-id': number; readonly 'thread-id': number };
  readonly target: 'x86_64';
}

export function queryCpusFast({ machine }: Monitor): CpuInfoFast[] {
  return machine.facts.cpuThreads.map((thread, index) => ({
    'cpu-index': index,
    'qom-path': `/machine/cpu[${index}]`,
    'thread-id': thread,
    props: { 'socket-id': 0, 'core-id': index, 'thread-id': 0 },
    target: 'x86_64',
  }));
}

/** BlockInfo of QEMU. What we do not have (throttling, encryption, trays) says so by the values it must have. */
export function queryBlock(monitor: Monitor): object[] {
  return monitor.machine.facts.disks.map((disk) => ({
    device: disk.id,
    qdev: `/machine/${disk.id}`,
    type: 'unknown',
    removable: false,
    locked: false,
    'io-status': monitor.ioStatusOf(disk.id),
    inserted: inserted(disk),
  }));
}

function inserted({ id, path, overlay, sizeBytes, readOnly, direct }: DiskFacts): object {
  const file = overlay ?? path;
  const format = overlay === undefined ? 'raw' : 'colo-overlay';
  return {
    'node-name': id,
    file,
    drv: format,
    ro: readOnly,
    encrypted: false,
    detect_zeroes: 'off',
    backing_file_depth: overlay === undefined ? 0 : 1,
    ...(overlay === undefined ? {} : { backing_file: path }),
    ...{ bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0, write_threshold: 0 },
    cache: { writeback: true, direct, 'no-flush': false },
    image: {
      filename: file,
      format,
      'virtual-size': sizeBytes,
      ...occupied(file),
      ...(overlay === undefined ? {} : { 'backing-filename': path }),
      'dirty-flag': false,
    },
  };
}

/** What a file occupies on the host; nothing if it cannot be found any more by its name. */
function occupied(path: string): { 'actual-size'?: number } {
  try {
    return { 'actual-size': statSync(path).blocks * 512 };
  } catch {
    return {};
  }
}

/** Our own (`x-` is for what QEMU's schema does not know): what the commands of the command line show. */
export interface MachineInfo {
  readonly name?: string;
  readonly pid: number;
  /** How long the VMM has run. */
  readonly 'uptime-seconds': number;
  readonly cpus: number;
  readonly 'memory-bytes': number;
  /** What the guest's clock still has to catch up with. */
  readonly 'clock-behind-ms': number;
  readonly disks: readonly {
    readonly id: string;
    readonly path: string;
    readonly overlay?: string;
    readonly 'size-bytes': number;
    readonly 'read-only': boolean;
    readonly 'io-status': string;
  }[];
  readonly cards: readonly CardFacts[];
}

export function queryMachine(monitor: Monitor): MachineInfo {
  const { memoryBytes, cpuThreads, disks, cards } = monitor.machine.facts;
  return {
    ...queryName(monitor),
    pid: process.pid,
    'uptime-seconds': Math.floor(process.uptime()),
    cpus: cpuThreads.length,
    'memory-bytes': memoryBytes,
    'clock-behind-ms': monitor.machine.clockBehindMs,
    disks: disks.map(({ id, path, overlay, sizeBytes, readOnly }) => ({
      id,
      path,
      ...(overlay === undefined ? {} : { overlay }),
      'size-bytes': sizeBytes,
      'read-only': readOnly,
      'io-status': monitor.ioStatusOf(id),
    })),
    cards,
  };
}
