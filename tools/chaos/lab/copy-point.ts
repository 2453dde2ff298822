import type { ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';

/** A moment while a guest is becoming protected: disks are compared, then RAM is copied, then the first checkpoint is made. */
export interface CopyPoint {
  /** Of what may differ on the disks, at least so much is compared, in percent. 100: they are equal. */
  readonly comparedPercent: number;
  /** So much later, ms. */
  readonly thenMs: number;
}

/** Sides are asked every 1.5 s what they are: a delay goes further than to the next answer. */
const longestDelayMs = 3000;
const percentStep = 20;

export const copyBegins: CopyPoint = { comparedPercent: 0, thenMs: 0 };

export function drawCopyPoint(random: (limit: number) => number): CopyPoint {
  return { comparedPercent: percentStep * random(100 / percentStep + 1), thenMs: random(longestDelayMs) };
}

/** Whether disks are compared that far, by what the primary says of itself. The delay is not counted. */
export function isCopiedTo({ comparedPercent }: CopyPoint, primary: ColoStatus | undefined): boolean {
  if (primary?.phase === 'seeding') return true;
  if (primary?.phase !== 'synchronising') return false;
  const { synchronising, synchronised } = primary.disk ?? {};
  if (synchronised !== undefined) return true;
  const { comparedBytes, totalBytes } = synchronising ?? { comparedBytes: 0, totalBytes: 1 };
  return comparedBytes * 100 >= totalBytes * comparedPercent;
}

export function copyPointInWords({ comparedPercent, thenMs }: CopyPoint): string {
  return `${(thenMs / 1000).toFixed(1)} s after ${comparedPercent} % compared`;
}
