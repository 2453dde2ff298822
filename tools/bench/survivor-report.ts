import { median, rounded } from './statistics.ts';
import { atLeast, atMost, formatRatios, type Ratio } from './verdict.ts';

/** What a guest has whose host was lost, and what it had without protection. */
export interface SurvivorFigures {
  readonly limits: readonly Ratio[];
  readonly memoryMib: number;
  /** Of that, what the guest has filled before; half as much is touched for the first time afterwards. */
  readonly filledMib: number;
  readonly unprotected: MachineRow;
  readonly buffered: SurvivorRow;
  readonly comparing: SurvivorRow;
}

export interface MachineRow {
  /** Memory of the whole process; what is mapped twice counts once. */
  readonly residentMib: number;
  /** Of that, in huge pages. */
  readonly hugeMib: number;
  /** Times that the guest does the same work in a second of processor time: writes all over what it has filled; to pages that it never touched; to its disk. */
  readonly memory: number;
  readonly faults: number;
  readonly disk: number;
  /** The same by the clock, which others who use this host slow down. */
  readonly memoryByClock: number;
  readonly faultsByClock: number;
  readonly diskByClock: number;
}

export interface SurvivorRow extends MachineRow {
  /** The process before the takeover, and right after it. */
  readonly standbyMib: number;
  readonly atFirstMib: number;
  /** To unprotected: medians of the rounds' ratios. */
  readonly ratio: MachineRow;
}

/** What one round showed. */
export interface Round {
  readonly unprotected: MachineRow;
  readonly buffered: Omit<SurvivorRow, 'ratio'>;
  readonly comparing: Omit<SurvivorRow, 'ratio'>;
}

const modes = ['buffered', 'comparing'] as const;

export function survivorFigures(memoryMib: number, filledMib: number, rows: readonly Round[]): SurvivorFigures {
  const survivor = (mode: (typeof modes)[number]): SurvivorRow => ({
    ...middle(rows.map((row) => row[mode])),
    ratio: middle(
      rows.map(({ unprotected, [mode]: survivor }) => {
        const names = Object.keys(unprotected) as (keyof MachineRow)[];
        return Object.fromEntries(
          names.map((name) => [name, survivor[name] / unprotected[name]]),
        ) as unknown as MachineRow;
      }),
    ),
  });
  const [buffered, comparing] = [survivor('buffered'), survivor('comparing')];
  const limits = modes.flatMap((mode) => {
    const { ratio } = mode === 'buffered' ? buffered : comparing;
    return [
      atMost(`${mode}: memory held, to unprotected`, ratio.residentMib, 1.05),
      atLeast(`${mode}: work in memory, to unprotected`, ratio.memory, 0.95),
      atLeast(`${mode}: first touches, to unprotected`, ratio.faults, 0.95),
      atLeast(`${mode}: work on the disk, to unprotected`, ratio.disk, 0.95),
    ];
  });
  const unprotected = middle(rows.map((row) => row.unprotected));
  return { limits, memoryMib, filledMib, unprotected, buffered, comparing };
}

function middle<Row extends object>(rows: readonly Row[]): Row {
  const [first] = rows;
  if (first === undefined) throw new Error('no rounds');
  const names = Object.keys(first) as (keyof Row)[];
  return Object.fromEntries(
    names.map((name) => [name, rounded(median(rows.map((row) => row[name] as number)), 3)]),
  ) as Row;
}

/** The figures as a table. */
export function formatSurvivor(figures: SurvivorFigures): string {
  const { limits, memoryMib, filledMib, unprotected, buffered, comparing } = figures;
  const row = (name: string, row: MachineRow): string[] => [
    `${name.padEnd(12)} ${row.residentMib} MiB, ${row.hugeMib} of them in huge pages`,
    `  in a second of processor time (by the clock): ${speeds(row)}`,
  ];
  const survivor = (name: string, { standbyMib, atFirstMib, ratio, ...rest }: SurvivorRow): string[] => [
    ...row(name, rest),
    `  to unprotected: ${ratio.residentMib} of its memory; ${speeds(ratio)}`,
    `  before: ${standbyMib} MiB as standby, ${atFirstMib} right after the takeover`,
  ];
  return [
    ...formatRatios(limits),
    '',
    `guest of ${memoryMib} MiB, of which it has filled ${filledMib}; a minute after the takeover`,
    ...row('unprotected', unprotected),
    ...survivor('buffered', buffered),
    ...survivor('comparing', comparing),
    '',
  ].join('\n');
}

function speeds(row: MachineRow): string {
  const { memory, faults, disk, memoryByClock, faultsByClock, diskByClock } = row;
  return `memory ${memory} (${memoryByClock}), faults ${faults} (${faultsByClock}), disk ${disk} (${diskByClock})`;
}
