import type { ColoEvent } from '../../src/vmm/monitor/colo-control.ts';
import { median, rounded } from './statistics.ts';

/** What has to happen after a primary's death until its guest is protected again, in its order. */
export const againParts = [
  'detected',
  'taken over',
  'found by a standby',
  'agreed',
  'disks made equal',
  'RAM copied',
  'first checkpoint',
] as const;
export type AgainPart = (typeof againParts)[number];

/** How long each took, ms. */
export type Again = Readonly<Record<AgainPart, number>>;

/** Medians, and the longest time that all of it took. */
export interface AgainFigures {
  readonly count: number;
  readonly parts: Again;
  readonly total: { readonly median: number; readonly worst: number };
}

/**
 * By the log of the survivor.
 *
 * @param diedAt when the primary was killed, by the survivor's clock, ms since 1970
 * @param events all that it remembers, checkpoints too
 * @param diskMs how long it took to make disks equal
 * @throws Error if the log lacks one of them
 */
export function againOf(diedAt: number, events: readonly ColoEvent[], diskMs: number): Again {
  let since = diedAt;
  const later = events.filter(({ at }) => at >= diedAt);
  const until = (what: string, is: (event: ColoEvent) => boolean): number => {
    const event = later.find((event) => event.at >= since && is(event));
    if (event === undefined) throw new Error(`the survivor's log does not say that ${what}`);
    const took = event.at - since;
    since = event.at;
    return took;
  };
  const detected = until('the primary was lost', ({ event }) => event === 'peer-lost');
  const takenOver = until('its guest runs', ({ topic }) => topic === 'speaking');
  const found = until('a standby connected', ({ topic, text }) => topic === 'pair' && text.startsWith('connected to '));
  const agreed = until('it is known what may differ', ({ text }) => text.startsWith('disks: '));
  const copied = until('the guest was stopped for a first checkpoint', ({ text }) =>
    text.includes('the guest was stopped for '),
  );
  const first = until('the guest is protected', ({ event }) => event === 'protected');
  return {
    detected,
    'taken over': takenOver,
    'found by a standby': found,
    agreed,
    'disks made equal': Math.min(diskMs, copied),
    'RAM copied': copied - Math.min(diskMs, copied),
    'first checkpoint': first,
  };
}

/** Undefined of none. */
export function againFigures(rows: readonly Again[]): AgainFigures | undefined {
  if (rows.length === 0) return undefined;
  const totals = rows.map((row) => againParts.reduce((sum, part) => sum + row[part], 0));
  const middle = (part: AgainPart): number => rounded(median(rows.map((row) => row[part])));
  return {
    count: rows.length,
    parts: Object.fromEntries(againParts.map((part) => [part, middle(part)])) as Again,
    total: { median: rounded(median(totals)), worst: rounded(Math.max(...totals)) },
  };
}

export function formatAgain({ count, parts, total }: AgainFigures): string[] {
  return [
    `protected again ${total.median} ms after the primary's death at the median, ${total.worst} at worst, of ${count}; medians:`,
    `  ${againParts.map((part) => `${part} ${parts[part]}`).join(', ')}`,
  ];
}
