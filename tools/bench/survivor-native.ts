import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Pair } from '../../test/support/pair.ts';
import { working } from '../../test/support/virtio-guests.ts';
import { kernelFile, runVmm, VmmProcess } from '../../test/support/vmm-process.ts';
import { median, rounded } from './statistics.ts';
import {
  type MachineRow,
  type Round,
  type SurvivorFigures,
  type SurvivorRow,
  survivorFigures,
} from './survivor-report.ts';

const MiB = 2 ** 20;
const memoryMib = 1024;
const filledMib = 640;
const work = { bytes: filledMib * MiB, passes: 2, newBytes: 32 * MiB, diskPages: 4000 } as const;
const diskBytes = 64 * MiB;
/** Since the takeover, or since the guest of the unprotected one had filled its memory. */
const settledMs = 60_000;
/** Each kind of work is done so often; the first time does not count. */
const times = 4;
const common = ['--serial', 'stdio,eof=ignore'];

/** One guest after the other on this host: unprotected, and taken over by each kind of standby. */
export async function benchSurvivor(rounds: number, progress: (line: string) => void): Promise<SurvivorFigures> {
  const rows: Round[] = [];
  for (let round = 1; round <= rounds; round++) {
    const row = await measured();
    rows.push(row);
    progress(`round ${round}/${rounds}: ${JSON.stringify(row)}`);
  }
  return survivorFigures(memoryMib, filledMib, rows);
}

async function measured(): Promise<Round> {
  return {
    unprotected: await clean((pair) => unprotected(pair)),
    buffered: await clean((pair) => takenOver(pair, 'buffered')),
    comparing: await clean((pair) => takenOver(pair, 'comparing')),
  };
}

async function unprotected(pair: Pair): Promise<MachineRow> {
  const vmm = new VmmProcess([
    ...['run', '--kernel', guestOf(pair), '--control', pair.control('a'), '--memory', `${memoryMib}M`],
    ...['--disk', `path=${diskOf(pair, 'a')},id=root`, ...common],
  ]);
  try {
    await vmm.printed('ready');
    await does(vmm, 'f');
    await sleep(settledMs);
    return await figures(vmm);
  } finally {
    await vmm.endedBySignal('SIGKILL');
  }
}

async function takenOver(pair: Pair, mode: 'buffered' | 'comparing'): Promise<Omit<SurvivorRow, 'ratio'>> {
  const flags = [...common, '--detection', '60000'];
  const standby = pair.standby('--disk', `path=${diskOf(pair, 'b')},id=root`, ...flags);
  const disk = `path=${diskOf(pair, 'a')},id=root`;
  const primary = pair.primary(guestOf(pair), '--memory', `${memoryMib}M`, '--disk', disk, '--mode', mode, ...flags);
  await primary.printed('ready');
  await pair.protected();
  await does(primary, 'f');
  const { epoch } = await pair.status('b', () => true);
  const { code, stderr } = await runVmm(['checkpoint', '--control', pair.control('a')]);
  if (code !== 0) throw new Error(stderr);
  // All that the guest has filled is there.
  await pair.status('b', (status) => (status.epoch ?? 0) > (epoch ?? 0));
  const { residentMib: standbyMib } = resident(standby);
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  const { residentMib: atFirstMib } = resident(standby);
  await sleep(settledMs);
  return { standbyMib, atFirstMib, ...(await figures(standby)) };
}

async function figures(vmm: VmmProcess): Promise<MachineRow> {
  const held = resident(vmm);
  const rate = async (order: string): Promise<Took> => {
    const took: Took[] = [];
    for (let time = 0; time < times; time++) took.push(await does(vmm, order));
    const of = (part: keyof Took): number => 1 / median(took.slice(1).map((one) => one[part]));
    return { processor: of('processor'), clock: of('clock') };
  };
  const [memory, faults, disk] = [await rate('m'), await rate('n'), await rate('d')];
  return {
    ...held,
    ...{ memory: memory.processor, faults: faults.processor, disk: disk.processor },
    ...{ memoryByClock: memory.clock, faultsByClock: faults.clock, diskByClock: disk.clock },
  };
}

/** Seconds. */
interface Took {
  /** Of processor time, of the whole VMM: others use this host too. */
  readonly processor: number;
  readonly clock: number;
}

/** Has the guest do that work. */
async function does(vmm: VmmProcess, order: string): Promise<Took> {
  const [before, used, begun] = [vmm.stdout.length, processorSeconds(vmm), performance.now()];
  vmm.write(order);
  while (!vmm.stdout.slice(before).includes('done')) {
    if (vmm.child.exitCode !== null) throw new Error(`the guest is gone: ${vmm.stderr}`);
    await sleep(1);
  }
  return { processor: processorSeconds(vmm) - used, clock: (performance.now() - begun) / 1000 };
}

/** Of all its threads, guest time with it. */
function processorSeconds({ pid }: VmmProcess): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((sum, task) => {
    const [nanoseconds] = readFileSync(join(tasks, task, 'schedstat'), 'latin1').split(' ');
    return sum + Number(nanoseconds) / 1e9;
  }, 0);
}

function resident({ pid }: VmmProcess): { residentMib: number; hugeMib: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const mib = (name: string): number =>
    rounded(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]) / 1024);
  return { residentMib: mib('Pss'), hugeMib: mib('AnonHugePages') };
}

function guestOf(pair: Pair): string {
  return kernelFile(pair.folder, working(work));
}

function diskOf(pair: Pair, side: string): string {
  const path = join(pair.folder, `${side}.img`);
  const file = openSync(path, 'w');
  try {
    ftruncateSync(file, diskBytes);
  } finally {
    closeSync(file);
  }
  return path;
}

async function clean<T>(body: (pair: Pair) => Promise<T>): Promise<T> {
  const cleans: (() => unknown)[] = [];
  try {
    return await body(await Pair.make({ teardown: (clean) => cleans.unshift(clean) }));
  } finally {
    for (const clean of cleans) await clean();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
