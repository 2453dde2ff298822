import { rounded } from './statistics.ts';

/** A ratio, and what it is to be. Null: one of its figures is missing. */
export interface Ratio {
  readonly name: string;
  readonly ratio: number | null;
  readonly wanted: string;
  readonly met: boolean | null;
}

export function atMost(name: string, value: number | undefined, limit: number): Ratio {
  return ratio(name, value, `at most ${rounded(limit, 3)}`, (number) => number <= limit);
}

export function atLeast(name: string, value: number | undefined, limit: number): Ratio {
  return ratio(name, value, `at least ${rounded(limit, 3)}`, (number) => number >= limit);
}

function ratio(name: string, value: number | undefined, wanted: string, isMet: (value: number) => boolean): Ratio {
  if (value === undefined || Number.isNaN(value)) return { name, ratio: null, wanted, met: null };
  return { name, ratio: rounded(value, 3), wanted, met: isMet(value) };
}

export function formatRatios(ratios: readonly Ratio[]): string[] {
  return ratios.map(
    ({ name, ratio: value, wanted, met }) =>
      `${(met === null ? '?' : met ? 'yes' : 'NO').padEnd(4)}${name.padEnd(52)} ${String(value ?? 'not measured').padStart(8)}   ${wanted}`,
  );
}
