import type { ProgramRequest } from '../images/program-files.ts';

/** fio as Debian has it, without the storage systems that it can also talk to: they are 80 MB of libraries. */
export const fioProgram: ProgramRequest = {
  package: 'fio',
  path: 'usr/bin/fio',
  without: {
    holder: 'librados.so.2',
    others: [
      ...['libgfapi.so.0', 'libnbd.so.0', 'libibverbs.so.1', 'librdmacm.so.1'],
      ...['librbd.so.1', 'libpmemblk.so.1', 'libpmem.so.1'],
    ],
    prefixes: ['glfs_', 'nbd_', 'ibv_', 'rdma_', 'rados_', 'rbd_', 'pmemblk_', 'pmem_'],
  },
};

/** A kind of access that fio makes, past the guest's page cache. */
export interface FioJob {
  readonly name: string;
  readonly pattern: 'randread' | 'randwrite' | 'read' | 'write';
  readonly blockKib: number;
  readonly depth: number;
  /** Flush after each write. */
  readonly isSynced?: boolean;
}

const resultFile = '/tmp/fio';

/**
 * A shell command of the guest that runs `job`, silently: every character on the console is an exit. It runs for a
 * time and not for a number of requests, of which an emulated host does hundreds and a real one hundreds of thousands.
 */
export function fioCommand(job: FioJob, device: string, seconds: number): string {
  return command(job, device, ['--time_based', `--runtime=${seconds}`]);
}

/** The same with a single request: what it costs to start and end fio. */
export function fioOnceCommand(job: FioJob, device: string): string {
  return command(job, device, ['--number_ios=1']);
}

function command(job: FioJob, device: string, until: readonly string[]): string {
  const { name, pattern, blockKib, depth, isSynced = false } = job;
  return [
    ...['fio', `--name=${name}`, `--filename=${device}`, `--rw=${pattern}`, `--bs=${blockKib}k`, '--direct=1'],
    // One request at a time needs no queue of the guest's kernel.
    ...(depth === 1 ? ['--ioengine=psync'] : ['--ioengine=libaio', `--iodepth=${depth}`]),
    ...(isSynced ? ['--fsync=1'] : []),
    // A thread and one look at the clock, for less of the guest's own time; the same places at every run.
    ...[...until, '--norandommap', '--thread', '--gtod_reduce=1', '--randrepeat=1'],
    `--minimal --output=${resultFile} > ${resultFile}.log 2>&1`,
  ].join(' ');
}

/** Prints what the last {@link fioCommand} found. */
export const fioResultCommand = `cat ${resultFile}`;

/** Places of the terse format, version 3 (fio's manual, "Terse output"), from 0 on. */
const terse = { version: 0, error: 4, read: 5, write: 46 } as const;
const terseVersion = '3';
/** Within a direction. */
const direction = { kib: 0, runtimeMs: 3 } as const;

/** Requests and seconds from fio's terse output for `job`. */
export function parseFio(text: string, job: FioJob): { requests: number; seconds: number } {
  // A warning may stand before it.
  const line = text.split('\n').find((each) => each.startsWith(`${terseVersion};fio-`));
  const fields = line?.trim().split(';') ?? [];
  const start = job.pattern.endsWith('read') ? terse.read : terse.write;
  const kib = Number(fields[start + direction.kib]);
  const seconds = Number(fields[start + direction.runtimeMs]) / 1000;
  if (fields[terse.version] !== terseVersion || fields[terse.error] !== '0' || !(kib > 0) || !(seconds > 0)) {
    throw new Error(`fio did not do ${job.name}: ${text.slice(0, 500)}`);
  }
  return { requests: kib / job.blockKib, seconds };
}
