/** What the VMMs of a pair hold at one moment: of both sides, whichever host they are on. */
export interface Holding {
  /** Memory of their own, MiB: of a file that other processes have mapped as well, their end would be growth here. */
  readonly mib: number;
  readonly files: number;
}

/** Of fewer rounds nothing is said. */
export const fewestRounds = 8;

/** Rounds at the beginning that say nothing yet: what a guest has and a VMM needs is still being touched. */
const warmUp = 2;
/** Growth that is none: a heap is collected now or later. */
const roomMib = 16;
const roomPart = 0.15;
const roomFiles = 4;

/**
 * Whether what a pair holds stays as it is over rounds that follow each other, in each of which somebody takes somebody's place. What
 * leaks grows from round to round: so the last quarter is held against the first.
 *
 * @returns what grew; nothing of fewer than {@link fewestRounds}, which say little
 */
export function growthOf(holdings: readonly Holding[]): string[] {
  const counted = holdings.slice(warmUp);
  const quarter = Math.floor(counted.length / 4);
  if (holdings.length < fewestRounds) return [];
  const [first, last] = [counted.slice(0, quarter), counted.slice(-quarter)];
  const grown: string[] = [];
  const [mibThen, mibNow] = [middle(first, 'mib'), middle(last, 'mib')];
  if (mibNow > mibThen + Math.max(roomMib, mibThen * roomPart))
    grown.push(`the pair's memory grew from ${mibThen.toFixed(0)} to ${mibNow.toFixed(0)} MiB`);
  const [filesThen, filesNow] = [middle(first, 'files'), middle(last, 'files')];
  if (filesNow > filesThen + roomFiles) grown.push(`the pair's open files grew from ${filesThen} to ${filesNow}`);
  return grown;
}

function middle(holdings: readonly Holding[], of: keyof Holding): number {
  const values = holdings.map((holding) => holding[of]).sort((one, other) => one - other);
  // Of two the smaller one: something large that comes and goes is no growth.
  return values[(values.length - 1) >> 1] ?? 0;
}
