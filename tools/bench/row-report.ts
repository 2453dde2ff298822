import type { LabMode } from '../lab/mode.ts';
import type { Measurement, Measurements, Row } from './rows.ts';
import { median, rounded } from './statistics.ts';

/** What a ratio of these benchmarks means, in every output: `boot` and `memory` have it the other way round. */
export const ratioMeaning = 'speed of ours / speed of the best of the others: from 1 on, ours is at least as fast';

/**
 * A row in JSON: `row`, `unit`, `work`, `ratio`, and for each contestant C its figure as `C`, `C_cpu_s` for the same
 * work, `C_exits` and `C_mmio_exits` per request, and `ratio_C` of ours to C. Null: the host did not tell.
 */
export type RowResult = {
  readonly row: string;
  readonly unit: string;
  readonly work: string;
  readonly ratio: number;
} & Readonly<Record<string, number | string>>;

export interface RowsResult {
  readonly bench: string;
  readonly ratio_is: string;
  readonly worst_ratio: number;
  readonly median_ratio: number;
  readonly rows: readonly RowResult[];
  readonly rounds: number;
  readonly host: LabMode;
}

const hero = 'ours';

/** Medians of the rounds; ratios are medians of each round's ratio, so that a drift of the host does not bend them. */
export function rowsResult<C extends string>(
  bench: string,
  rows: readonly Row[],
  measurements: Measurements<C>,
  rounds: number,
  host: LabMode,
): RowsResult {
  const results = rows.map((row) => rowResult(row, measurements.get(row.name) ?? {}));
  const ratios = results.map(({ ratio }) => ratio);
  return {
    bench,
    ratio_is: ratioMeaning,
    worst_ratio: Math.min(...ratios),
    median_ratio: rounded(median(ratios), 3),
    rows: results,
    rounds,
    host,
  };
}

function rowResult(row: Row, of: Readonly<Record<string, readonly Measurement[]>>): RowResult {
  const middle = (name: string, part: (measurement: Measurement) => number): number =>
    median((of[name] ?? []).map(part));
  const others = Object.keys(of).filter((name) => name !== hero);
  const ratioTo = (other: string): number =>
    median((of[hero] ?? []).map(({ perSecond }, round) => perSecond / (of[other]?.[round]?.perSecond ?? Number.NaN)));
  const ratios = others.map((name) => [`ratio_${name}`, rounded(ratioTo(name), 3)] as const);
  const figures = Object.keys(of).flatMap((name) => [
    [name, rounded(middle(name, ({ perSecond }) => perSecond))] as const,
    [
      `${name}_cpu_s`,
      rounded(
        middle(name, ({ cpuSeconds }) => cpuSeconds),
        2,
      ),
    ] as const,
    [
      `${name}_exits`,
      rounded(
        middle(name, ({ exitsPerRequest }) => exitsPerRequest),
        2,
      ),
    ] as const,
    [
      `${name}_mmio_exits`,
      rounded(
        middle(name, ({ mmioExitsPerRequest }) => mmioExitsPerRequest),
        2,
      ),
    ] as const,
  ]);
  return {
    row: row.name,
    unit: `${row.request}/s`,
    work: `${row.nominal} ${row.request}`,
    // To be as fast as the best is to be as fast as each.
    ratio: Math.min(...ratios.map(([, ratio]) => ratio)),
    ...Object.fromEntries(ratios),
    ...Object.fromEntries(figures),
  };
}

/** The result as an aligned table with a line that says which way its ratios go. */
export function formatRows(result: RowsResult): string {
  const [first] = result.rows;
  const names = Object.keys(first ?? {}).filter((key) => `${key}_cpu_s` in (first ?? {}));
  const head = [
    'row',
    'unit',
    ...names,
    'ratio',
    ...names.map((name) => `cpu s ${name}`),
    'for',
    ...names.map((name) => `exits ${name}`),
  ];
  const lines = result.rows.map((row) =>
    [
      ...[row.row, row.unit, ...names.map((name) => row[name])],
      ...[row.ratio.toFixed(3), ...names.map((name) => row[`${name}_cpu_s`])],
      ...[row.work, ...names.map((name) => row[`${name}_exits`])],
    ].map(String),
  );
  const table = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  const isText = (column: number) => Number.isNaN(Number(lines[0]?.[column]));
  const aligned = table.map((line) =>
    line.map((cell, column) =>
      isText(column) ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    ),
  );
  return [
    ...aligned.map((cells) => cells.join('  ').trimEnd()),
    '',
    `ratio: ${result.ratio_is}`,
    'exits: from the guest, for each request',
    `worst ratio ${result.worst_ratio}, median ratio ${result.median_ratio}; ${result.rounds} rounds, ${result.host} host`,
    '',
  ].join('\n');
}
