import type { ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';
import { judge } from '../../demo/judge.ts';
import type { LabReport } from './clients-program.ts';
import type { Expected } from './faults.ts';
import type { DiskContent } from './survivor-disk.ts';

export type Outcome = 'primary' | 'standby' | 'both';

/** A side as it is found: `gone` has no process any more. */
export interface Found {
  readonly status: ColoStatus | undefined;
  readonly isGone: boolean;
}

/** Who runs the guest, as both sides say; undefined: that is not settled yet. */
export function outcomeOf(primary: Found, standby: Found): Outcome | undefined {
  const [one, other] = [primary.status?.headline, standby.status?.headline];
  if (one === 'PROTECTED' && other === 'PROTECTING') return 'both';
  if (one === 'UNPROTECTED' && isOut(standby)) return 'primary';
  if (other === 'UNPROTECTED' && isOut(primary)) return 'standby';
  return undefined;
}

/** It is gone, or knows that it does not run the guest. */
function isOut({ status, isGone }: Found): boolean {
  const headline = status?.headline;
  return isGone || headline === 'FENCED' || headline === 'ENDED' || headline === 'LISTENING' || headline === 'PAIRING';
}

export function isExpected(outcome: Outcome, expected: Expected): boolean {
  return outcome === expected || (expected === 'either' && outcome !== 'both');
}

/** What clients were told against the survivor's disk, and what the disk has that nobody was told; a line for each fault. */
export function compareWithDisk(report: LabReport, disk: DiskContent): string[] {
  const verdict = judge(report.counter, disk.counter);
  const lines = [...verdict.problems.map((line) => `counter: ${line}`), ...report.violations, ...disk.damage];
  const commands = disk.redis.toString('latin1').match(/\$4\r\nINCR\r\n/g)?.length ?? 0;
  const increments = report.answers.redis ?? 0;
  if (commands !== increments) {
    lines.push(`redis: ${increments} increments were answered, and its log on the survivor's disk has ${commands}`);
  }
  if (verdict.answers === 0) lines.push('counter: nobody was answered');
  for (const [service, answers] of Object.entries(report.answers)) {
    if (answers === 0) lines.push(`${service}: nobody was answered`);
  }
  if (report.waiting.length > 0) lines.push(`never answered: ${report.waiting.join(', ')}`);
  return lines;
}
