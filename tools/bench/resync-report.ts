import type { SpeedRow, WorkRate } from './resync-speed.ts';
import { median, rounded } from './statistics.ts';
import { atLeast, atMost, formatRatios, type Ratio } from './verdict.ts';

/** What it takes to make a standby's disk equal again (spec B.7). */
export interface ResyncFigures {
  readonly diskMib: number;
  /** Of the disk, what the survivor's guest wrote meanwhile, in pages far from each other. */
  readonly changedPercent: number;
  /** Everything is sent, to a disk that has nothing of it. */
  readonly fullCopy: CopyRow;
  /** Nothing is known of the standby's disk, which differs in what changed. */
  readonly byHash: CopyRow;
  /** It is known what may differ. */
  readonly resync: CopyRow;
  /** Pages a second that the guest writes, one after the other. */
  readonly written: WrittenRow;
  /** Resync to full copy, and the speed of a guest whose disk and RAM are copied to what it was. */
  readonly ratios: readonly Ratio[];
  /** Medians. */
  readonly speed: SpeedRow;
}

export interface WrittenRow {
  /** Alone, each of them for the first time in a while: regions are marked. */
  readonly cold: number;
  /** Alone, the same pages once more. */
  readonly alone: number;
  /** While all of the disk is compared. */
  readonly meanwhile: number;
}

export interface CopyRow {
  /** Compared or sent; and sent, without hashes and heads. */
  readonly mayDifferMib: number;
  readonly sentMib: number;
  readonly seconds: number;
}

export function resyncFigures(found: {
  readonly full: readonly CopyRow[];
  readonly byHash: readonly CopyRow[];
  readonly resync: readonly CopyRow[];
  readonly written: readonly WrittenRow[];
  readonly speed: readonly SpeedRow[];
  readonly diskMib: number;
  readonly changedPercent: number;
}): ResyncFigures {
  const { full, resync, written, speed, diskMib, changedPercent } = found;
  const [fullCopy, again] = [middle(full), middle(resync)];
  const seconds = median(resync.map(({ seconds }, at) => seconds / (full[at]?.seconds ?? Number.NaN)));
  const slowed = (of: (row: SpeedRow) => WorkRate): number =>
    median(speed.map(of).map(({ alone, meanwhile }) => meanwhile / alone));
  const rate = (of: (row: SpeedRow) => WorkRate): WorkRate => ({
    alone: median(speed.map(of).map(({ alone }) => alone)),
    meanwhile: median(speed.map(of).map(({ meanwhile }) => meanwhile)),
  });
  return {
    ...{ diskMib, changedPercent, fullCopy, resync: again },
    byHash: middle(found.byHash),
    written: {
      cold: median(written.map(({ cold }) => cold)),
      alone: median(written.map(({ alone }) => alone)),
      meanwhile: median(written.map(({ meanwhile }) => meanwhile)),
    },
    ratios: [
      atMost('bytes of a resync, to a full copy', rounded(again.sentMib / fullCopy.sentMib, 4), 0.05),
      atMost('time of a resync, to a full copy', rounded(seconds, 4), 0.05),
      atLeast('speed of memory while disk and RAM are copied', slowed(memoryOf), 0.7),
      atLeast('speed of disk while disk and RAM are copied', slowed(diskOf), 0.7),
    ],
    speed: { memory: rate(memoryOf), disk: rate(diskOf) },
  };
}

const memoryOf = ({ memory }: SpeedRow): WorkRate => memory;
const diskOf = ({ disk }: SpeedRow): WorkRate => disk;

function middle(rows: readonly CopyRow[]): CopyRow {
  const of = (key: keyof CopyRow): number => median(rows.map((row) => row[key]));
  return { mayDifferMib: of('mayDifferMib'), sentMib: of('sentMib'), seconds: of('seconds') };
}

/** The figures as a table. */
export function formatResync(figures: ResyncFigures): string {
  const { diskMib, changedPercent, fullCopy, byHash, resync, written, ratios, speed } = figures;
  const row = (name: string, { mayDifferMib, sentMib, seconds }: CopyRow): string =>
    `${name.padEnd(10)} ${mayDifferMib} MiB may differ, ${sentMib} MiB sent, ${seconds} s`;
  const works = (name: string, { alone, meanwhile }: WorkRate): string =>
    `${name} ${alone}/s alone, ${meanwhile}/s from the start of a standby until the guest is protected`;
  return [
    ...formatRatios(ratios),
    '',
    `disk of ${diskMib} MiB, of which ${changedPercent} % changed`,
    row('full copy', fullCopy),
    row('by hash', byHash),
    row('resync', resync),
    `pages that the guest writes: ${written.alone}/s alone, ${written.cold}/s if their regions are not marked, ${written.meanwhile}/s while all is compared`,
    works('work in memory:', speed.memory),
    works('work on the disk:', speed.disk),
    '',
  ].join('\n');
}
