import type { PairMode } from './pair/contender.ts';
import { type Again, type AgainFigures, againFigures, formatAgain } from './protected-again.ts';
import { median, quantile, rounded } from './statistics.ts';
import { atMost, formatRatios, type Ratio } from './verdict.ts';

/** One change of the guest's host, as its client saw it. */
export interface Change {
  readonly silenceMs: number;
  /** What it had asked was lost: how long it waits before it asks again is its own affair. */
  readonly askedAgain: boolean;
}

/** Of several, in ms: from the change to the first answer of the standby. */
export interface ChangeFigures {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  /** How often the client had to ask again, which counts in all others. */
  readonly askedAgain: number;
  readonly all: readonly number[];
}

export interface StopRow {
  readonly pagesWritten: number;
  /** Pages of the last checkpoint. */
  readonly pages: number;
  readonly median: number;
  readonly worst: number;
  /** Of the last stop. */
  readonly parts: Readonly<Record<string, number>>;
}

export interface AnswersRow {
  readonly clients: number;
  readonly unprotected: number;
  readonly protected: number;
  readonly insecure: number;
}

/** What protection costs the small guest, and what its clients see of the loss of its primary. Times in ms. */
export interface FailoverFigures {
  readonly mode: PairMode;
  /** In ms and numbers; of the product they are ratios to nothing. */
  readonly limits: readonly Ratio[];
  /** kill -9 of the primary, and roles changed in order. */
  readonly kill: ChangeFigures;
  readonly switchover: ChangeFigures;
  /** With a machine for the standby that is up, and has the disk that it had. */
  readonly again?: AgainFigures;
  /** How long the guest stands still for a checkpoint, in which every request writes to so many pages. */
  readonly stops: readonly StopRow[];
  readonly answersPerSecond: readonly AnswersRow[];
}

const manyPages = 1000;

export function failoverFigures(found: {
  readonly mode: PairMode;
  readonly kill: readonly Change[];
  readonly switchover: readonly Change[];
  readonly again: readonly Again[];
  readonly stops: readonly StopRow[];
  readonly answersPerSecond: readonly AnswersRow[];
}): FailoverFigures {
  const { mode, stops, answersPerSecond } = found;
  const [kill, switchover] = [changeFigures(found.kill), changeFigures(found.switchover)];
  const again = againFigures(found.again);
  const limits = [
    atMost('kill -9: ms of silence, median', kill.p50, 60),
    atMost('kill -9: ms of silence, worst', kill.worst, 150),
    atMost('kill -9: times that the client had to ask again', kill.askedAgain, 0),
    atMost(
      `stop of the guest, ${manyPages} pages, ms, median`,
      stops.find(({ pagesWritten }) => pagesWritten === manyPages)?.median,
      1,
    ),
  ];
  return { mode, limits, kill, switchover, ...(again && { again }), stops, answersPerSecond };
}

function changeFigures(changes: readonly Change[]): ChangeFigures {
  const all = changes.map(({ silenceMs }) => rounded(silenceMs));
  return {
    count: all.length,
    p50: rounded(median(all)),
    p99: quantile(all, 0.99),
    worst: Math.max(...all),
    askedAgain: changes.filter(({ askedAgain }) => askedAgain).length,
    all,
  };
}

/** The figures as a table. */
export function formatFailover(figures: FailoverFigures): string {
  const { mode, limits, kill, switchover, again, stops, answersPerSecond } = figures;
  const change = (name: string, { count, p50, p99, worst, askedAgain }: ChangeFigures): string =>
    `${name.padEnd(24)} silence p50 ${p50} ms, p99 ${p99}, worst ${worst}, of ${count}; the client asked again ${askedAgain} times`;
  const lines = [
    `A pair that is ${mode}.`,
    '',
    ...formatRatios(limits),
    '',
    change('kill -9 of the primary', kill),
    change('switchover', switchover),
    ...(again === undefined ? [] : formatAgain(again)),
    '',
    'stop of the guest, ms      pages  median   worst  parts of the last one',
    ...stops.map(({ pages, median: middle, worst, parts }) =>
      [
        ' '.repeat(22),
        String(pages).padStart(9),
        String(middle).padStart(7),
        String(worst).padStart(7),
        ` ${inWords(parts)}`,
      ].join(' '),
    ),
    '',
    'answers a second         clients  unprotected  protected  protected, plaintext',
    ...answersPerSecond.map((row) =>
      [
        ' '.repeat(24),
        String(row.clients).padStart(7),
        String(row.unprotected).padStart(12),
        `${row.protected} (${Math.round((100 * row.protected) / row.unprotected)} %)`.padStart(10),
        String(row.insecure).padStart(20),
      ].join(' '),
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function inWords(parts: Readonly<Record<string, number>>): string {
  return Object.entries(parts)
    .map(([part, ms]) => `${part} ${ms}`)
    .join(', ');
}
