import { type PausePart, pauseParts } from '../../src/vmm/vmstate/pause-times.ts';
import type { LabMode } from '../lab/mode.ts';
import type { Contestant } from './contestants.ts';
import type { QmpFigures } from './qmp-stopwatch.ts';
import { median, rounded } from './statistics.ts';

/** The parts of a pause, in the order of the table, and what of the machine's own parts each is made of. */
const partsOf = {
  stop: ['vcpus', 'io', 'clocks'],
  state: ['registers', 'interrupts', 'devices'],
  collect: ['collect'],
  copy: ['copy'],
  resume: ['resume'],
} as const satisfies Record<string, readonly PausePart[]>;
export const partNames = ['stop', 'state', 'collect', 'copy', 'resume'] as const;

/** How long each part of a pause took, in milliseconds. */
export type PauseParts = Readonly<Record<(typeof partNames)[number], number>>;

/** One pause. */
export interface Pause {
  readonly parts: PauseParts;
  /** The same, as the machine measures it. */
  readonly detail: Readonly<Record<PausePart, number>>;
  /** From the decision to stop until the threads are let go. */
  readonly totalMs: number;
  /** From then on until the guest is seen to run: up to the host's scheduler. */
  readonly wakeMs: number;
}

/** @param elapsedMs from the decision to stop until the guest is seen to run */
export function pauseOf(ms: (part: PausePart) => number, elapsedMs: number): Pause {
  const sum = (parts: readonly PausePart[]): number => parts.reduce((total, part) => total + ms(part), 0);
  const totalMs = sum(pauseParts);
  return {
    parts: Object.fromEntries(partNames.map((name) => [name, sum(partsOf[name])])) as unknown as PauseParts,
    detail: Object.fromEntries(pauseParts.map((part) => [part, ms(part)])) as Record<PausePart, number>,
    totalMs,
    wakeMs: elapsedMs - totalMs,
  };
}

/** Pauses of one kind. */
export interface PauseRow {
  readonly vcpus: number;
  readonly pages: number;
  readonly where: 'native' | 'lab';
  /** Medians, each part's its own: they need not add up to that of the total. */
  readonly parts_ms: PauseParts;
  readonly detail_ms: Readonly<Record<PausePart, number>>;
  readonly total_ms: number;
  /** Of the best pause: what is left when nothing else runs on the machine. */
  readonly least_ms: number;
  readonly wake_ms: number;
  /** What `total_ms` is to be at most; null where nothing is promised. */
  readonly limit_ms: number | null;
  /** Loading such a checkpoint into a machine that has run, its pages too. */
  readonly load_ms: number;
  readonly least_load_ms: number;
  /** By which the main thread's heap grows with each checkpoint. */
  readonly garbage_kib: number;
}

/** By the number of pages. */
const limitsMs: Readonly<Record<number, number>> = { 0: 0.3, 1000: 0.75, 10000: 5.2 };

/** The middle of some pauses. */
export function pauseRow(
  { vcpus, pages, where }: Pick<PauseRow, 'vcpus' | 'pages' | 'where'>,
  pauses: readonly Pause[],
  { loads, garbageBytes }: { readonly loads: readonly number[]; readonly garbageBytes: number },
): PauseRow {
  const middle = (part: (pause: Pause) => number): number => rounded(median(pauses.map(part)), 3);
  return {
    vcpus,
    pages,
    where,
    parts_ms: Object.fromEntries(
      partNames.map((name) => [name, middle(({ parts }) => parts[name])]),
    ) as unknown as PauseParts,
    detail_ms: Object.fromEntries(pauseParts.map((part) => [part, middle(({ detail }) => detail[part])])) as Record<
      PausePart,
      number
    >,
    total_ms: middle(({ totalMs }) => totalMs),
    least_ms: rounded(Math.min(...pauses.map(({ totalMs }) => totalMs)), 3),
    wake_ms: middle(({ wakeMs }) => wakeMs),
    limit_ms: vcpus === 1 && where === 'native' ? (limitsMs[pages] ?? null) : null,
    load_ms: rounded(median(loads), 3),
    least_load_ms: rounded(Math.min(...loads), 3),
    garbage_kib: rounded(garbageBytes / 1024, 1),
  };
}

/** What the lab showed of each VMM. */
export interface LabFigures {
  readonly qmp: Readonly<Record<Contestant, QmpFigures>>;
  /** From the start of a process until the guest of a saved machine prints again, round by round. */
  readonly restoreMs: Readonly<Record<Contestant, readonly number[]>>;
  readonly host: LabMode;
}

/** One VMM with a guest that computes, in milliseconds as a client of its monitor sees them. */
export interface VmmRow {
  readonly vmm: Contestant;
  readonly stop_ms: number;
  readonly cont_ms: number;
  /** Saving the machine while it runs: until all is written, and how long it stood still for it. */
  readonly save_ms: number;
  readonly save_downtime_ms: number;
  readonly restore_ms: number;
  /** Median of the ratios of each round, ours to this one's. */
  readonly ratio_restore: number;
}

export interface PauseResult {
  readonly bench: 'pause';
  readonly rows: readonly PauseRow[];
  readonly vmms: readonly VmmRow[];
  readonly restore_ms: number;
  /** The faster QEMU's. */
  readonly qemu_restore_ms: number;
  readonly ratio_restore: number;
  readonly limit_ratio_restore: number;
  /**
   * Pauses of one vCPU in the lab, state, copy and waking included, to what the faster QEMU takes for `stop` and `cont` together, which
   * read no state and copy no page, by the number of pages.
   */
  readonly ratio_pause: Readonly<Record<number, number>>;
  readonly rounds: number;
  readonly host: LabMode;
}

const limitRatioRestore = 0.333;

/** All figures as one result. The restore is compared with the QEMU that comes out best. */
export function pauseResult(rows: readonly PauseRow[], { qmp, restoreMs, host }: LabFigures): PauseResult {
  const vmms = (Object.keys(qmp) as Contestant[]).map((vmm): VmmRow => {
    const { stopMs, contMs, savingMs, downtimeMs } = qmp[vmm];
    return {
      vmm,
      stop_ms: rounded(median(stopMs), 1),
      cont_ms: rounded(median(contMs), 1),
      save_ms: rounded(savingMs, 0),
      save_downtime_ms: rounded(downtimeMs, 1),
      restore_ms: rounded(median(restoreMs[vmm]), 0),
      ratio_restore: rounded(median(restoreMs.ours.map((ms, round) => ms / (restoreMs[vmm][round] ?? Number.NaN))), 3),
    };
  });
  const [ours] = vmms.filter(({ vmm }) => vmm === 'ours');
  const [best] = vmms.filter(({ vmm }) => vmm !== 'ours').sort((a, b) => a.restore_ms - b.restore_ms);
  if (ours === undefined || best === undefined) throw new RangeError('nothing to compare');
  const stopAndContMs = Math.min(
    ...vmms.filter(({ vmm }) => vmm !== 'ours').map(({ stop_ms, cont_ms }) => stop_ms + cont_ms),
  );
  return {
    bench: 'pause',
    rows,
    vmms,
    restore_ms: ours.restore_ms,
    qemu_restore_ms: best.restore_ms,
    ratio_restore: best.ratio_restore,
    limit_ratio_restore: limitRatioRestore,
    ratio_pause: Object.fromEntries(
      rows
        .filter(({ where, vcpus }) => where === 'lab' && vcpus === 1)
        .map(({ pages, total_ms, wake_ms }) => [pages, rounded((total_ms + wake_ms) / stopAndContMs, 3)]),
    ),
    rounds: restoreMs.ours.length,
    host,
  };
}

/** The result for people. */
export function formatPauses(result: PauseResult): string {
  const pauses = result.rows.map((row) => [
    row.where,
    row.vcpus,
    row.pages,
    ...partNames.map((name) => row.parts_ms[name]),
    row.total_ms,
    row.limit_ms ?? '',
    row.least_ms,
    row.wake_ms,
    row.load_ms,
    row.least_load_ms,
    row.garbage_kib,
  ]);
  const vmms = result.vmms.map((row) => [
    row.vmm,
    row.stop_ms,
    row.cont_ms,
    row.save_ms,
    row.save_downtime_ms,
    row.restore_ms,
    row.ratio_restore,
  ]);
  return [
    'Checkpoints: a guest is paused; medians in ms. Then loading one into the machine; KiB of garbage each makes:',
    ...table([
      ['where', 'vcpus', 'pages', ...partNames, 'total', 'limit', 'least', 'wake', 'load', 'least', 'KiB'],
      ...pauses,
    ]),
    '',
    `Beside QEMU, in an ${result.host} host, medians in ms:`,
    ...table([['vmm', 'stop', 'cont', 'save', 'downtime', 'restore', 'ours/it'], ...vmms]),
    '',
    `restore: ${result.restore_ms} ms, QEMU ${result.qemu_restore_ms} ms, ratio ${result.ratio_restore}, ` +
      `at most ${result.limit_ratio_restore} wanted; ${result.rounds} rounds`,
    `pause with state, copy and waking, to QEMU's stop and cont: ${Object.entries(result.ratio_pause)
      .map(([pages, ratio]) => `${ratio} at ${pages} pages`)
      .join(', ')}`,
    '',
  ].join('\n');
}

/** Aligned columns: the first to the left, numbers to the right. */
function table(rows: readonly (readonly (string | number)[])[]): string[] {
  const cells = rows.map((row) => row.map(String));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
