import type { LabMode } from '../../lab/mode.ts';
import { type Again, type AgainFigures, againFigures, formatAgain } from '../protected-again.ts';
import { median, quantile, rounded } from '../statistics.ts';
import { atMost, formatRatios, type Ratio } from '../verdict.ts';
import { formatFailures } from './checkpoint-report.ts';
import type { PairMode } from './contender.ts';

/**
 * `ours`, `plaintext`, `qemu`: the primary's process is killed. `lost`: the host of our primary loses its power. `switchover`: ours changes
 * roles in order.
 */
export const faults = ['ours', 'plaintext', 'lost', 'switchover', 'qemu'] as const;
export type FaultName = (typeof faults)[number];

/** One failover as its client saw it. */
export interface Silence {
  readonly ms: number;
  /** What the pair said before that detection and consent would take. */
  readonly promisedMs?: number;
}

export interface SilenceFigures {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  readonly all: readonly number[];
}

export interface FailoverResult {
  readonly bench: 'failover';
  readonly ratios: readonly Ratio[];
  /** Milliseconds without an answer. */
  readonly silences: Readonly<Partial<Record<FaultName, SilenceFigures>>>;
  /** With a standby's machine that is up. */
  readonly again?: AgainFigures;
  readonly failures: readonly string[];
  readonly host: LabMode;
  /** Of ours. QEMU compares. */
  readonly mode: PairMode;
}

/** Beyond detection and consent a takeover may take so long, ms. */
const allowanceMs = 300;

export function failoverResult(
  host: LabMode,
  mode: PairMode,
  found: Readonly<Record<FaultName, readonly Silence[]>>,
  failures: readonly string[],
  followed: readonly Again[] = [],
): FailoverResult {
  const silences: Partial<Record<FaultName, SilenceFigures>> = {};
  for (const name of Object.keys(found) as FaultName[]) {
    const all = found[name].map(({ ms }) => rounded(ms, 0));
    if (all.length === 0) continue;
    silences[name] = {
      count: all.length,
      p50: rounded(median(all), 0),
      p99: quantile(all, 0.99),
      worst: Math.max(...all),
      all,
    };
  }
  const { ours, qemu } = silences;
  const lost = found.lost.flatMap(({ ms, promisedMs }) =>
    promisedMs === undefined ? [] : [ms / (promisedMs + allowanceMs)],
  );
  const ratios = [
    atMost('silence, process killed, median, to QEMU', ours && qemu && ours.p50 / qemu.p50, 1 / 3),
    atMost('silence, process killed, worst, to QEMU', ours && qemu && ours.worst / qemu.worst, 1 / 3),
    atMost(
      'silence, host lost, worst, to detection + consent + 0.3 s',
      lost.length > 0 ? Math.max(...lost) : undefined,
      1,
    ),
  ];
  const again = againFigures(followed);
  return { bench: 'failover', ratios, silences, ...(again && { again }), failures, host, mode };
}

const meanings: Readonly<Record<FaultName, string>> = {
  ours: 'ours, process killed',
  plaintext: 'ours without TLS, process killed',
  lost: 'ours, host lost',
  switchover: 'ours, roles changed in order',
  qemu: 'QEMU, process killed, a script reacts',
};

export function formatFailover({ ratios, silences, again, failures, host, mode }: FailoverResult): string {
  const rows = (Object.keys(silences) as FaultName[]).flatMap((name) => {
    const { count, p50, p99, worst } = silences[name] ?? {};
    return count === undefined
      ? []
      : [`${meanings[name].padEnd(40)} p50 ${p50}, p99 ${p99}, worst ${worst}, of ${count}`];
  });
  const head = [`In ${host} hosts, ours ${mode}; a client's silence in ms. Ratios are ours to the other's.`, ''];
  return `${[...head, ...formatRatios(ratios), '', ...rows, ...(again ? ['', ...formatAgain(again)] : []), ...formatFailures(failures)].join('\n')}\n`;
}
