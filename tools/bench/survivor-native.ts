import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Pair } from '../../test/support/pair.ts';
import { working } from '../../test/support/virtio-guests.ts';
import { kernelFile, runVmm, VmmProcess } from '../../test/support/vmm-process.ts';
import { median, rounded } from './statistics.ts';

/** What a guest has whose host was lost, and what it had without protection. */
export interface SurvivorFigures {
  readonly memoryMib: number;
  /** Of that, what the guest has filled before; half as much is touched for the first time afterwards. */
  readonly filledMib: number;
  readonly unprotected: MachineRow;
  readonly buffered: SurvivorRow;
  readonly comparing: SurvivorRow;
}

interface MachineRow {
  /** Memory of the whole process; what is mapped twice counts once. */
  readonly residentMib: number;
  /** Of that, in huge pages. */
  readonly hugeMib: number;
  /** Times that the guest does the same work in a second of processor time: writes all over what it has filled; to pages that it never touched; to its disk. */
  readonly memory: number;
  readonly faults: number;
  readonly disk: number;
}

interface SurvivorRow extends MachineRow {
  /** The process before the takeover, and right after it. */
  readonly standbyMib: number;
  readonly atFirstMib: number;
  /** To unprotected: medians of the rounds' ratios. */
  readonly ratio: MachineRow;
}

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
  const survivor = (mode: 'buffered' | 'comparing'): SurvivorRow => ({
    ...middle(rows.map((row) => row[mode])),
    ratio: middle(
      rows.map(({ unprotected, [mode]: { residentMib, hugeMib, memory, faults, disk } }) => ({
        residentMib: residentMib / unprotected.residentMib,
        hugeMib: hugeMib / unprotected.hugeMib,
        memory: memory / unprotected.memory,
        faults: faults / unprotected.faults,
        disk: disk / unprotected.disk,
      })),
    ),
  });
  return {
    memoryMib,
    filledMib,
    unprotected: middle(rows.map(({ unprotected }) => unprotected)),
    buffered: survivor('buffered'),
    comparing: survivor('comparing'),
  };
}

interface Round {
  readonly unprotected: MachineRow;
  readonly buffered: Omit<SurvivorRow, 'ratio'>;
  readonly comparing: Omit<SurvivorRow, 'ratio'>;
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
  const rate = async (order: string): Promise<number> => {
    const seconds: number[] = [];
    for (let time = 0; time < times; time++) seconds.push(await does(vmm, order));
    return 1 / median(seconds.slice(1));
  };
  return { ...held, memory: await rate('m'), faults: await rate('n'), disk: await rate('d') };
}

/** Has the guest do that work; the processor time that the VMM took for it, in seconds: others use this host too. */
async function does(vmm: VmmProcess, order: string): Promise<number> {
  const [before, begun] = [vmm.stdout.length, processorSeconds(vmm)];
  vmm.write(order);
  while (!vmm.stdout.slice(before).includes('done')) {
    if (vmm.child.exitCode !== null) throw new Error(`the guest is gone: ${vmm.stderr}`);
    await sleep(1);
  }
  return processorSeconds(vmm) - begun;
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

function middle<Row extends object>(rows: readonly Row[]): Row {
  const [first] = rows;
  if (first === undefined) throw new Error('no rounds');
  const names = Object.keys(first) as (keyof Row)[];
  return Object.fromEntries(
    names.map((name) => [name, rounded(median(rows.map((row) => row[name] as number)), 3)]),
  ) as Row;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The figures as a table. */
export function formatSurvivor({ memoryMib, filledMib, unprotected, buffered, comparing }: SurvivorFigures): string {
  const speeds = ({ memory, faults, disk }: MachineRow): string =>
    `memory ${memory}/s, faults ${faults}/s, disk ${disk}/s`;
  const row = (name: string, { residentMib, hugeMib, ...rest }: MachineRow): string =>
    `${name.padEnd(12)} ${residentMib} MiB, ${hugeMib} of them in huge pages; ${speeds({ residentMib, hugeMib, ...rest })}`;
  const survivor = (name: string, { standbyMib, atFirstMib, ratio, ...rest }: SurvivorRow): string[] => [
    row(name, rest),
    `  to unprotected: ${ratio.residentMib} of its memory; memory ${ratio.memory}, faults ${ratio.faults}, disk ${ratio.disk}`,
    `  before: ${standbyMib} MiB as standby, ${atFirstMib} right after the takeover`,
  ];
  return [
    `guest of ${memoryMib} MiB, of which it has filled ${filledMib}; a minute after the takeover`,
    row('unprotected', unprotected),
    ...survivor('buffered', buffered),
    ...survivor('comparing', comparing),
    '',
  ].join('\n');
}
