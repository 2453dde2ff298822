import type { LabMode } from '../../lab/mode.ts';
import { atLeast, atMost, formatRatios, type Ratio } from '../verdict.ts';

/** What runs beside what: our pair in both modes with TLS, and buffered without; QEMU, which compares. */
export const contenderNames = ['comparing', 'buffered', 'plaintext', 'qemu'] as const;
export type ContenderName = (typeof contenderNames)[number];

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
  /** Resident. `loaded`: right after the guest wrote all over its RAM. */
  readonly standbyMib: { readonly idle: number; readonly loaded: number };
}

/** What the standby's memory is held against. */
export interface Memory {
  /** Of the guest. */
  readonly memoryMib: number;
  /** What a VMM of ours whose guest nobody protects holds beyond that. */
  readonly unprotectedMib: number;
}

export interface CheckpointResult {
  readonly bench: 'checkpoint';
  readonly ratios: readonly Ratio[];
  readonly figures: Readonly<Partial<Record<ContenderName, Figures>>>;
  readonly unprotectedMib: number;
  /** Tries that came to nothing, and why. */
  readonly failures: readonly string[];
  readonly host: LabMode;
}

export function checkpointResult(
  host: LabMode,
  { memoryMib, unprotectedMib }: Memory,
  figures: CheckpointResult['figures'],
  failures: readonly string[],
): CheckpointResult {
  const ratios = (['comparing', 'buffered'] as const).flatMap((mode) => {
    const ours = figures[mode];
    const toQemu = (of: (figures: Figures) => number | undefined): number | undefined => share(ours, figures.qemu, of);
    const alike = answers(32)(ours);
    const held = (kind: 'idle' | 'loaded', limit: number): Ratio =>
      atMost(
        `${mode}: memory of the standby beyond an idle VMM, ${kind}, to RAM`,
        ours && (ours.standbyMib[kind] - unprotectedMib) / memoryMib,
        limit,
      );
    return [
      atMost(`${mode}: stop, idle, every 0.5 s, to QEMU`, toQemu(stop('idle')), 1 / 3),
      atMost(`${mode}: stop, loaded, every 0.5 s, to QEMU`, toQemu(stop('loaded')), 1 / 5),
      atMost(`${mode}: stop, idle, every 20 s, to QEMU`, toQemu(stop('rare')), 1 / 10),
      atMost(
        `${mode}: stop for the beginning, to QEMU`,
        toQemu(({ beginningMs }) => beginningMs),
        1 / 10,
      ),
      atLeast(`${mode}: speed while RAM is copied, to unprotected`, ours?.copyingSpeed ?? undefined, 0.6),
      atLeast(
        `${mode}: answers, 1 connection, to QEMU`,
        toQemu((of) => answers(1)(of)?.protected),
        5,
      ),
      atLeast(`${mode}: answers, 32 connections, to unprotected`, alike && alike.protected / alike.unprotected, 0.3),
      // What a guest that runs beside the primary's writes is its own until the next checkpoint.
      ...(mode === 'comparing' ? [held('idle', 1.25)] : [held('idle', 1.15), held('loaded', 1.15)]),
    ];
  });
  return { bench: 'checkpoint', ratios, figures, unprotectedMib, failures, host };
}

const stop = (name: string) => (of: Figures) => of.stops[name]?.median;
const answers = (clients: number) => (of: Figures | undefined) => of?.answers.find((row) => row.clients === clients);

function share(
  ours: Figures | undefined,
  theirs: Figures | undefined,
  of: (figures: Figures) => number | undefined,
): number | undefined {
  const [mine, other] = [ours && of(ours), theirs && of(theirs)];
  return mine === undefined || other === undefined ? undefined : mine / other;
}

export function formatCheckpoint({ ratios, figures, unprotectedMib, failures, host }: CheckpointResult): string {
  const lines = [`In ${host} hosts; times in ms. Ratios are ours to the other's.`, '', ...formatRatios(ratios)];
  for (const [name, { beginningMs, copyingSpeed, stops, answers, standbyMib }] of Object.entries(figures)) {
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
    lines.push(`  resident: standby ${standbyMib.idle} MiB idle, ${standbyMib.loaded} after the load`);
  }
  lines.push('', `An unprotected VMM of ours without guest RAM: ${unprotectedMib} MiB resident.`);
  return `${[...lines, ...formatFailures(failures)].join('\n')}\n`;
}

export function formatFailures(failures: readonly string[]): string[] {
  return failures.length === 0 ? [] : ['', 'Tries that came to nothing:', ...failures.map((line) => `  ${line}`)];
}
