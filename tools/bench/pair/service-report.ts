import type { LabMode } from '../../lab/mode.ts';
import { median, quantile, rounded } from '../statistics.ts';
import { atLeast, atMost, formatRatios, type Ratio } from '../verdict.ts';
import { pieceBytes } from './bulk.ts';
import { formatFailures } from './checkpoint-report.ts';
import { isBulk, type ServiceName } from './service-askers.ts';
import type { ServiceReading } from './service-program.ts';

/**
 * What runs beside what: our guest alone, ours in both modes, QEMU's COLO. `two`: a guest on each host, neither protected, that are
 * asked the same at the same time: nothing of which both copies run can be faster on these hosts, which share processors.
 */
export type ContenderName = 'unprotected' | 'two' | 'comparing' | 'buffered' | 'qemu';

/**
 * Checkpoints since the pair was made, how often each reason was one of theirs, and why guests that were compared did not agree: what is
 * known of the last times, the newest first. Of `times` in a row, `number` is the last one's, among all.
 */
export interface Checkpoints {
  readonly count: number;
  readonly reasons?: Readonly<Record<string, number>>;
  readonly divergences?: readonly { readonly number: number; readonly times: number; readonly what: string }[];
}

/** What one service showed. Times in ms. */
export interface ServiceFigures {
  readonly service: ServiceName;
  /** Answers; of a bulk transfer, MiB, and its answers are pieces of it. */
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  /** For each 1,000 answers. */
  readonly checkpoints?: number;
  /** How many of them were for what; one may be for several reasons. */
  readonly reasons?: Readonly<Record<string, number>>;
  /** What the guests did not agree on meanwhile, with how often. */
  readonly divergences?: readonly string[];
}

/** Resident memory of a standby whose guest runs, while nobody asks anything, MiB. */
export interface StandbyMemory {
  readonly standbyMib: number;
  /** An unprotected VMM, its guest's RAM left out. */
  readonly unprotectedMib: number;
  readonly guestMib: number;
}

export interface ServiceResult {
  readonly bench: 'service';
  readonly ratios: readonly Ratio[];
  readonly figures: Readonly<Partial<Record<ContenderName, readonly ServiceFigures[]>>>;
  /** Of comparing; absent: it was not measured. */
  readonly memory?: StandbyMemory;
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
  const rate = answers / seconds;
  return {
    service,
    perSecond: rounded(isBulk(service) ? (rate * pieceBytes) / 2 ** 20 : rate, isBulk(service) ? 2 : 1),
    p50: rounded(median(latencies), 1),
    p99: rounded(quantile(latencies, 0.99), 1),
    worst: rounded(Math.max(...latencies), 1),
    ...(before === undefined || after === undefined
      ? {}
      : { checkpoints: rounded(((after.count - before.count) * 1000) / all, 1), ...since(before, after) }),
  };
}

function since(before: Checkpoints, after: Checkpoints): Pick<ServiceFigures, 'reasons' | 'divergences'> {
  const { reasons, divergences } = after;
  const known = before.divergences?.[0]?.number ?? 0;
  return {
    ...(reasons === undefined
      ? {}
      : {
          reasons: Object.fromEntries(
            Object.entries(reasons)
              .map(([reason, times]) => [reason, times - (before.reasons?.[reason] ?? 0)] as const)
              .filter(([, times]) => times > 0)
              .sort(([, one], [, other]) => other - one),
          ),
        }),
    ...(divergences === undefined
      ? {}
      : {
          // Of a row of them that had begun before, only what came since.
          divergences: divergences
            .filter(({ number }) => number > known)
            .map(({ number, times, what }) => `${Math.min(times, number - known)} times: ${what}`),
        }),
  };
}

const agreeing: Readonly<Partial<Record<ServiceName, number>>> = {
  'page, keep-alive': 0.8,
  'key-value': 0.8,
  'page, a connection each': 0.6,
  'write of 4 KiB, fsync': 0.6,
  download: 0.6,
  upload: 0.6,
};

export function serviceResult(
  host: LabMode,
  figures: ServiceResult['figures'],
  failures: readonly string[],
  memory?: StandbyMemory,
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
    );
    // Nobody waits for a single piece of a transfer.
    if (!isBulk(service))
      ratios.push(atMost(`${service}: p99, comparing to unprotected`, share(compared?.p99, alone?.p99), 3));
  }
  const differing = (name: ContenderName): number | undefined => of(name, 'differing')?.perSecond;
  ratios.push(atLeast('differing: comparing to buffered', share(differing('comparing'), differing('buffered')), 0.9));
  ratios.push(
    atMost(
      'memory of an idle standby beyond an idle VMM, comparing, to RAM',
      memory && (memory.standbyMib - memory.unprotectedMib) / memory.guestMib,
      1.25,
    ),
  );
  return { bench: 'service', ratios, figures, ...(memory && { memory }), failures, host };
}

export function formatService({ ratios, figures, memory, failures, host }: ServiceResult): string {
  const lines = [`In ${host} hosts; times in ms. Ratios are ours to the other's.`, '', ...formatRatios(ratios)];
  for (const [name, rows = []] of Object.entries(figures)) {
    lines.push('', `${name.padEnd(26)} ${['a second', 'p50', 'p99', 'worst', 'checkpoints'].map(cell).join('')}`);
    for (const { service, perSecond, p50, p99, worst, checkpoints, reasons = {}, divergences = [] } of rows) {
      const cells = [perSecond, p50, p99, worst, checkpoints ?? '-'].map(cell);
      const unit = isBulk(service) ? ', MiB' : '';
      lines.push(`  ${(service + unit).padEnd(24)} ${cells.join('')}`);
      const why = Object.entries(reasons).map(([reason, times]) => `${inWords[reason] ?? reason} ${times}`);
      if (why.length > 0) lines.push(`      for: ${why.join(', ')}`);
      lines.push(...divergences.map((divergence) => `      ${divergence}`));
    }
  }
  if (memory !== undefined) {
    const { standbyMib, unprotectedMib, guestMib } = memory;
    lines.push(
      '',
      `Resident, idle, comparing: standby ${rounded(standbyMib)} MiB, an unprotected VMM without guest RAM ${rounded(unprotectedMib)} MiB; RAM ${guestMib} MiB.`,
    );
  }
  lines.push(
    '',
    'Checkpoints are those for each 1,000 answers, and what they were for in all of a row; one may be for several reasons.',
    `Transfers are one connection each way, and an answer is a piece of ${pieceBytes / 1024} KiB.`,
  );
  return `${[...lines, ...formatFailures(failures)].join('\n')}\n`;
}

/** What a pair says a checkpoint is for, where a person would call it otherwise. */
const inWords: Readonly<Record<string, string>> = {
  delay: 'timer',
  'disk-log': "the standby's disk log",
  mode: 'mode switch',
};

function cell(value: number | string): string {
  return String(value).padStart(12);
}
