import type { LabMode } from '../../lab/mode.ts';
import { median, quantile, rounded } from '../statistics.ts';
import { atLeast, atMost, formatFailures, formatRatios, type Ratio } from './checkpoint-report.ts';
import type { ServiceName } from './service-askers.ts';
import type { ServiceReading } from './service-program.ts';

/**
 * What runs beside what: our guest alone, ours in both modes, QEMU's COLO. `two`: a guest on each host, neither protected, that are
 * asked the same at the same time: nothing of which both copies run can be faster on these hosts, which share processors.
 */
export type ContenderName = 'unprotected' | 'two' | 'comparing' | 'buffered' | 'qemu';

/** Checkpoints since the pair was made, and why guests that were compared did not agree: what is known of the last times. */
export interface Checkpoints {
  readonly count: number;
  readonly divergences?: readonly { readonly at: number; readonly times: number; readonly what: string }[];
}

/** What one service showed. Times in ms. */
export interface ServiceFigures {
  readonly service: ServiceName;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  /** For each 1,000 answers. */
  readonly checkpoints?: number;
  /** What the guests did not agree on, with how often. */
  readonly reasons?: readonly string[];
}

export interface ServiceResult {
  readonly bench: 'service';
  readonly ratios: readonly Ratio[];
  readonly figures: Readonly<Partial<Record<ContenderName, readonly ServiceFigures[]>>>;
  /** Tries that came to nothing, and why. */
  readonly failures: readonly string[];
  readonly host: LabMode;
}

/** Undefined: nobody was answered in the time that counts. */
export function serviceFigures(
  service: ServiceName,
  { answers, seconds, latencies, all }: ServiceReading,
  before?: Checkpoints,
  after?: Checkpoints,
): ServiceFigures | undefined {
  if (answers === 0) return undefined;
  const known = Math.max(0, ...(before?.divergences ?? []).map(({ at }) => at));
  return {
    service,
    perSecond: rounded(answers / seconds, 1),
    p50: rounded(median(latencies), 1),
    p99: rounded(quantile(latencies, 0.99), 1),
    worst: rounded(Math.max(...latencies), 1),
    ...(before === undefined || after === undefined
      ? {}
      : { checkpoints: rounded(((after.count - before.count) * 1000) / all, 1) }),
    ...(after?.divergences === undefined
      ? {}
      : {
          reasons: after.divergences.filter(({ at }) => at > known).map(({ times, what }) => `${times} times: ${what}`),
        }),
  };
}

const agreeing: Readonly<Partial<Record<ServiceName, number>>> = {
  'page, keep-alive': 0.8,
  'key-value': 0.8,
  'page, a connection each': 0.6,
  'write of 4 KiB, fsync': 0.6,
};

export function serviceResult(
  host: LabMode,
  figures: ServiceResult['figures'],
  failures: readonly string[],
): ServiceResult {
  const of = (name: ContenderName, service: ServiceName): ServiceFigures | undefined =>
    figures[name]?.find((row) => row.service === service);
  const share = (ours: number | undefined, theirs: number | undefined): number | undefined =>
    ours === undefined || theirs === undefined ? undefined : ours / theirs;
  const ratios: Ratio[] = [];
  for (const [name, limit] of Object.entries(agreeing)) {
    const service = name as ServiceName;
    const [compared, alone, two] = [of('comparing', service), of('unprotected', service), of('two', service)];
    ratios.push(
      atLeast(`${service}: comparing to unprotected`, share(compared?.perSecond, alone?.perSecond), limit),
      atLeast(`${service}: comparing to two unprotected at once`, share(compared?.perSecond, two?.perSecond), limit),
      atLeast(`${service}: comparing to QEMU`, share(compared?.perSecond, of('qemu', service)?.perSecond), 2),
      atMost(`${service}: p99, comparing to unprotected`, share(compared?.p99, alone?.p99), 3),
    );
  }
  const differing = (name: ContenderName): number | undefined => of(name, 'differing')?.perSecond;
  ratios.push(atLeast('differing: comparing to buffered', share(differing('comparing'), differing('buffered')), 0.9));
  return { bench: 'service', ratios, figures, failures, host };
}

export function formatService({ ratios, figures, failures, host }: ServiceResult): string {
  const lines = [`In ${host} hosts; times in ms. Ratios are ours to the other's.`, '', ...formatRatios(ratios)];
  for (const [name, rows = []] of Object.entries(figures)) {
    lines.push('', `${name.padEnd(26)} ${['a second', 'p50', 'p99', 'worst', 'checkpoints'].map(cell).join('')}`);
    for (const { service, perSecond, p50, p99, worst, checkpoints, reasons = [] } of rows) {
      const cells = [perSecond, p50, p99, worst, checkpoints ?? '-'].map(cell);
      lines.push(`  ${service.padEnd(24)} ${cells.join('')}`, ...reasons.map((reason) => `      ${reason}`));
    }
  }
  lines.push('', 'Checkpoints are those for each 1,000 answers.');
  return `${[...lines, ...formatFailures(failures)].join('\n')}\n`;
}

function cell(value: number | string): string {
  return String(value).padStart(12);
}
