import type { ColoEvent } from '../../src/vmm/monitor/colo-control.ts';

/**
 * How soon a standby that was given up may stand by again, as docs/operating.md promises (spec B.5): after five detection times, at least
 * 2 s; the second time within ten minutes of protection after 10 s; then after 20, 40, ... up to ten minutes.
 *
 * @param row how often it was given up, one time soon after the other
 * @returns ms
 */
export function backOffMs(row: number, detectionMs: number): number {
  const calmMs = Math.max(2000, 5 * detectionMs);
  return row === 1 ? calmMs : Math.max(calmMs, Math.min(10_000 * 2 ** (row - 2), 600_000));
}

/** Protection that lasted so long ends a row, ms. */
const steadyMs = 600_000;

/**
 * How often one pair may fail over in `ms`, if nobody starts a process anew: its standby is given up, and again each time that it has
 * stood by again; and once roles change, after which the other side is silent for good.
 */
export function mostFailovers(ms: number, detectionMs: number): number {
  let failovers = 2;
  let left = ms;
  for (let row = 1; left >= backOffMs(row, detectionMs); row++) {
    left -= backOffMs(row, detectionMs);
    failovers++;
  }
  return failovers;
}

/**
 * Whether a process that was given up stood by again sooner than it may.
 *
 * @param events of one process, the oldest first
 * @returns each time that it did
 */
export function tooSoon(events: readonly Pick<ColoEvent, 'monotonicMs' | 'event'>[], detectionMs: number): string[] {
  const found: string[] = [];
  let row = 0;
  let givenUpAt: number | undefined;
  let protectsSince: number | undefined;
  for (const { event, monotonicMs: at } of events) {
    if (event === 'protected') {
      const waitedMs = givenUpAt === undefined ? Number.POSITIVE_INFINITY : at - givenUpAt;
      if (waitedMs < backOffMs(row, detectionMs)) {
        found.push(`given up ${row} times in a row, it stood by again after ${waitedMs.toFixed(0)} ms`);
      }
      givenUpAt = undefined;
      protectsSince = at;
    } else if (event === 'fenced') {
      if (protectsSince !== undefined && at - protectsSince >= steadyMs) row = 0;
      protectsSince = undefined;
      row++;
      givenUpAt = at;
    }
  }
  return found;
}
