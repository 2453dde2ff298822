import type { LabMode } from '../../lab/mode.ts';
import { atLeast, atMost, formatRatios, type Ratio } from '../verdict.ts';

/** What runs beside what: ours with TLS, ours without, QEMU. */
export type ContenderName = 'ours' | 'plaintext' | 'qemu';

/** Of some stops, in ms; parts are medians of those stops of which they are known. */
export interface StopFigures {
  readonly count: number;
  readonly median: number;
  readonly p99: number;
  readonly parts?: Readonly<Record<string, number>>;
}

/** What one contender showed. */
export interface Figures {
  readonly beginningMs: number;
  /** Answers a second while RAM is first copied, as a share of those of the unprotected guest. Null: it was stopped, or nobody saw it. */
  readonly copyingSpeed: number | null;
  /** `idle` and `loaded`: a checkpoint every half a second; `rare`: every 20 s, idle. */
  readonly stops: Readonly<Record<string, StopFigures>>;
  /** Answers a second, each unlike any other guest's. */
  readonly answers: readonly { readonly clients: number; readonly unprotected: number; readonly protected: number }[];
  readonly standbyMib: number;
  /** An unprotected VMM, its guest's RAM left out. */
  readonly aloneMib: number;
}

export interface CheckpointResult {
  readonly bench: 'checkpoint';
  readonly ratios: readonly Ratio[];
  readonly figures: Readonly<Partial<Record<ContenderName, Figures>>>;
  /** Tries that came to nothing, and why. */
  readonly failures: readonly string[];
  readonly host: LabMode;
}

export function checkpointResult(
  host: LabMode,
  memoryMib: number,
  figures: CheckpointResult['figures'],
  failures: readonly string[],
): CheckpointResult {
  const { ours, qemu } = figures;
  const part = (figures: Figures | undefined, of: (figures: Figures) => number | undefined): number =>
    (figures && of(figures)) ?? Number.NaN;
  const toQemu = (of: (figures: Figures) => number | undefined): number => part(ours, of) / part(qemu, of);
  const stop = (name: string) => (of: Figures) => of.stops[name]?.median;
  const answers = (clients: number) => (of: Figures) => of.answers.find((row) => row.clients === clients);
  const kept = ours && answers(32)(ours);
  const ratios = [
    atMost('stop, idle, every 0.5 s, to QEMU', toQemu(stop('idle')), 1 / 3),
    atMost('stop, loaded, every 0.5 s, to QEMU', toQemu(stop('loaded')), 1 / 5),
    atMost('stop, idle, every 20 s, to QEMU', toQemu(stop('rare')), 1 / 10),
    atMost(
      'stop for the beginning, to QEMU',
      toQemu(({ beginningMs }) => beginningMs),
      1 / 10,
    ),
    atLeast('speed while RAM is copied, to unprotected', ours?.copyingSpeed ?? undefined, 0.6),
    atLeast(
      'answers, 1 connection, to QEMU',
      toQemu((of) => answers(1)(of)?.protected),
      5,
    ),
    atLeast('answers, 32 connections, to unprotected', kept && kept.protected / kept.unprotected, 0.3),
    atMost(
      'memory of the standby beyond an idle VMM, to RAM',
      ours && (ours.standbyMib - ours.aloneMib) / memoryMib,
      1.15,
    ),
  ];
  return { bench: 'checkpoint', ratios, figures, failures, host };
}

export function formatCheckpoint({ ratios, figures, failures, host }: CheckpointResult): string {
  const lines = [`In ${host} hosts; times in ms. Ratios are ours to the other's.`, '', ...formatRatios(ratios)];
  for (const [name, { beginningMs, copyingSpeed, stops, answers, standbyMib, aloneMib }] of Object.entries(figures)) {
    lines.push(
      '',
      `${name}: stopped for the beginning ${beginningMs}${copyingSpeed === null ? '' : `; speed while RAM is copied ${copyingSpeed}`}`,
    );
    for (const [kind, { count, median, p99, parts = {} }] of Object.entries(stops)) {
      const where = Object.entries(parts).map(([part, ms]) => `${part} ${ms}`);
      lines.push(`  stop, ${kind.padEnd(7)} median ${median}, p99 ${p99}, of ${count}   ${where.join(', ')}`.trimEnd());
    }
    for (const row of answers) {
      lines.push(
        `  answers a second, ${row.clients} clients: unprotected ${row.unprotected}, protected ${row.protected}`,
      );
    }
    lines.push(`  resident: standby ${standbyMib} MiB, an unprotected VMM without guest RAM ${aloneMib} MiB`);
  }
  return `${[...lines, ...formatFailures(failures)].join('\n')}\n`;
}

export function formatFailures(failures: readonly string[]): string[] {
  return failures.length === 0 ? [] : ['', 'Tries that came to nothing:', ...failures.map((line) => `  ${line}`)];
}
