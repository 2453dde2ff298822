import type { LeftOut } from './campaign.ts';
import { fewestRounds, growthOf, type Holding } from './flatness.ts';
import type { RoundResult } from './round.ts';

/** Of the rounds with one fault. Times in ms. */
export interface FaultRow {
  readonly fault: string;
  readonly rounds: number;
  readonly outcomes: Readonly<Record<RoundResult['outcome'], number>>;
  /** Most of one round. */
  readonly mostFailovers: number;
  readonly medianSilenceMs: number;
  readonly worstSilenceMs: number;
}

export interface ChaosReport {
  readonly seed: number;
  readonly rounds: number;
  readonly pairs: number;
  readonly answers: number;
  readonly retransmissions: number;
  readonly violations: readonly string[];
  readonly kept?: string;
  readonly seconds: number;
  readonly faults: readonly FaultRow[];
  /** Of a soak: what a pair held before each fault. */
  readonly holdings: readonly Holding[];
  /** Of a soak: whether that stayed as it was; absent: too few rounds to say. */
  readonly isFlat?: boolean;
  /** What sides that may not go on said of themselves, and how often. */
  readonly losers: Readonly<Record<string, number>>;
  /** What could not be done. */
  readonly leftOut: readonly LeftOut[];
}

export function reportOf(
  results: readonly RoundResult[],
  rest: Pick<ChaosReport, 'seed' | 'pairs' | 'seconds' | 'kept' | 'holdings' | 'leftOut'>,
): ChaosReport {
  const rows = [...new Set(results.map(({ fault }) => fault))].sort().map((fault): FaultRow => {
    const rounds = results.filter((result) => result.fault === fault);
    const silences = rounds.map(({ silenceMs }) => silenceMs).sort((one, other) => one - other);
    const count = (outcome: RoundResult['outcome']): number =>
      rounds.filter((round) => round.outcome === outcome).length;
    return {
      fault,
      rounds: rounds.length,
      outcomes: { primary: count('primary'), standby: count('standby'), both: count('both') },
      mostFailovers: Math.max(...rounds.map(({ failovers }) => failovers)),
      medianSilenceMs: Math.round(silences[silences.length >> 1] ?? 0),
      worstSilenceMs: Math.round(silences.at(-1) ?? 0),
    };
  });
  const losers: Record<string, number> = {};
  for (const { loser } of results) if (loser !== undefined) losers[loser] = (losers[loser] ?? 0) + 1;
  const growth = growthOf(rest.holdings);
  const sum = (of: (result: RoundResult) => number): number => results.reduce((total, result) => total + of(result), 0);
  return {
    ...rest,
    ...(rest.holdings.length < fewestRounds ? {} : { isFlat: growth.length === 0 }),
    rounds: results.length,
    answers: sum(({ answers }) => answers),
    retransmissions: sum(({ retransmissions }) => retransmissions),
    violations: [...results.flatMap(({ violations }) => violations), ...growth],
    faults: rows,
    losers,
  };
}

export function leftOutInWords({ faults, why }: LeftOut): string {
  return `left out on this machine: ${faults.length} faults, as "${faults[0]}": ${why}`;
}

const faultWidth = 82;

export function renderReport(report: ChaosReport): string {
  const lines = [
    `${'fault'.padEnd(faultWidth)} rounds  primary standby  pair failovers at most   silence ms: median  worst`,
    ...report.faults.map(({ fault, rounds, outcomes, mostFailovers, medianSilenceMs, worstSilenceMs }) =>
      [
        fault.padEnd(faultWidth),
        String(rounds).padStart(6),
        String(outcomes.primary).padStart(8),
        String(outcomes.standby).padStart(7),
        String(outcomes.both).padStart(5),
        String(mostFailovers).padStart(17),
        String(medianSilenceMs).padStart(20),
        String(worstSilenceMs).padStart(6),
      ].join(' '),
    ),
    '',
    'the side that may not go on said:',
    ...Object.entries(report.losers).map(([words, count]) => `${String(count).padStart(6)}  ${words}`),
    '',
    `${report.rounds} rounds with ${report.pairs} pairs in ${Math.round(report.seconds)} s, seed ${report.seed}; ` +
      `${report.answers} answers, ${report.retransmissions} retransmissions; ${report.violations.length} violations`,
  ];
  lines.push(...report.leftOut.map(leftOutInWords));
  const { holdings, isFlat } = report;
  if (holdings.length > 0) {
    const shown = (of: keyof Holding): string =>
      `${holdings[0]?.[of].toFixed(0)} at first, ${Math.max(...holdings.map((holding) => holding[of])).toFixed(0)} at most, ${holdings.at(-1)?.[of].toFixed(0)} in the end`;
    const verdict = isFlat === undefined ? `fewer than ${fewestRounds} say nothing` : isFlat ? 'flat' : 'NOT FLAT';
    lines.push(`both sides before each fault: memory, MiB: ${shown('mib')}; open files: ${shown('files')}: ${verdict}`);
  }
  if (report.violations.length > 0) lines.push('', ...report.violations.map((line) => `VIOLATION: ${line}`));
  if (report.kept !== undefined) lines.push(`logs, history and disks: ${report.kept}`);
  return `${lines.join('\n')}\n`;
}
