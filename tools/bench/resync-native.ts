import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { Pair } from '../../test/support/pair.ts';
import { writingWhenTold } from '../../test/support/virtio-guests.ts';
import { kernelFile, type VmmProcess } from '../../test/support/vmm-process.ts';
import { median, rounded } from './statistics.ts';

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
  /** Resync to full copy. */
  readonly ratio: { readonly sent: number; readonly seconds: number };
}

interface WrittenRow {
  /** Alone, each of them for the first time in a while: regions are marked. */
  readonly cold: number;
  /** Alone, the same pages once more. */
  readonly alone: number;
  /** While all of the disk is compared. */
  readonly meanwhile: number;
}

interface CopyRow {
  /** Compared or sent; and sent, without hashes and heads. */
  readonly mayDifferMib: number;
  readonly sentMib: number;
  readonly seconds: number;
}

const MiB = 2 ** 20;
const diskBytes = 1024 * MiB;
const pageBytes = 4096;
/** One in a hundred of the disk, all over it. */
const pages = Math.floor(diskBytes / 100 / pageBytes);
const strideSectors = 8 * Math.floor(diskBytes / pages / pageBytes);
const flags = ['--detection', '5000'];

/** Two VMMs on loopback, with a disk of 1 GiB each. */
export async function benchResyncNative(rounds: number, progress: (line: string) => void): Promise<ResyncFigures> {
  const full: CopyRow[] = [];
  const byHash: CopyRow[] = [];
  const resync: CopyRow[] = [];
  const written: WrittenRow[] = [];
  for (let round = 1; round <= rounds; round++) {
    const row = await measured();
    full.push(row.full);
    byHash.push(row.byHash);
    resync.push(row.resync);
    written.push(row.written);
    progress(`round ${round}/${rounds}: ${JSON.stringify(row)}`);
  }
  const [fullCopy, again] = [middle(full), middle(resync)];
  return {
    diskMib: diskBytes / MiB,
    changedPercent: rounded((100 * pages * pageBytes) / diskBytes, 2),
    fullCopy,
    byHash: middle(byHash),
    resync: again,
    written: {
      cold: median(written.map(({ cold }) => cold)),
      alone: median(written.map(({ alone }) => alone)),
      meanwhile: median(written.map(({ meanwhile }) => meanwhile)),
    },
    ratio: {
      sent: rounded(again.sentMib / fullCopy.sentMib, 4),
      seconds: rounded(median(resync.map(({ seconds }, at) => seconds / (full[at] as CopyRow).seconds)), 4),
    },
  };
}

async function measured(): Promise<{ full: CopyRow; byHash: CopyRow; resync: CopyRow; written: WrittenRow }> {
  const cleans: (() => unknown)[] = [];
  const pair = await Pair.make({ teardown: (clean) => cleans.unshift(clean) });
  try {
    const disk = { a: join(pair.folder, 'a.img'), b: join(pair.folder, 'b.img') };
    makeDisk(disk.a, true);
    makeDisk(disk.b, false);
    const standby = (): VmmProcess => pair.standby('--disk', `path=${disk.b},id=root`, ...flags);
    let there = standby();
    const guest = kernelFile(pair.folder, writingWhenTold(pages, strideSectors, 'written'));
    const primary = pair.primary(guest, '--disk', `path=${disk.a},id=root`, '--serial', 'stdio,eof=ignore', ...flags);
    const full = await copied(pair);
    /** Has the guest write its pages: how many a second. */
    const writes = async (): Promise<number> => {
      const [before, begun] = [primary.stdout.length, performance.now()];
      primary.write('x');
      while (!primary.stdout.slice(before).includes('written')) await sleep(2);
      return Math.round((pages * 1000) / (performance.now() - begun));
    };
    const standbyIsLost = async (): Promise<void> => {
      // All is durable on both disks, and nothing is marked.
      await pair.status('a', ({ disk }) => disk?.markedBytes === 0);
      await there.endedBySignal('SIGKILL');
      await pair.status('a', ({ headline }) => headline === 'UNPROTECTED');
    };
    await standbyIsLost();
    const [cold, alone] = [await writes(), await writes()];
    there = standby();
    const resync = await copied(pair);
    await standbyIsLost();
    await writes();
    rmSync(`${disk.b}.pair`);
    there = standby();
    await pair.status('a', ({ disk }) => disk?.synchronising !== undefined);
    const meanwhile = await writes();
    const byHash = await copied(pair);
    return { full, byHash, resync, written: { cold, alone, meanwhile } };
  } finally {
    for (const clean of cleans) await clean();
  }
}

async function copied(pair: Pair): Promise<CopyRow> {
  const { disk } = await patiently(pair, ({ disk }) => disk?.synchronised !== undefined);
  await patiently(pair, ({ headline }) => headline === 'PROTECTED');
  const { totalBytes = 0, sentBytes = 0, seconds = 0 } = disk?.synchronised ?? {};
  return {
    mayDifferMib: rounded(totalBytes / MiB),
    sentMib: rounded(sentBytes / MiB, 2),
    seconds: rounded(seconds, 3),
  };
}

/** A copy of everything may take minutes. */
async function patiently(pair: Pair, wanted: Parameters<Pair['status']>[1]): Promise<ColoStatus> {
  for (let minute = 1; ; minute++) {
    try {
      return await pair.status('a', wanted);
    } catch (error) {
      if (minute === 10) throw error;
    }
  }
}

function makeDisk(path: string, filled: boolean): void {
  const file = openSync(path, 'w');
  try {
    ftruncateSync(file, diskBytes);
    const piece = new Uint8Array(4 * MiB);
    for (let at = 0; filled && at < diskBytes; at += piece.length)
      writeSync(file, randomFillSync(piece), 0, piece.length, at);
  } finally {
    closeSync(file);
  }
}

function middle(rows: readonly CopyRow[]): CopyRow {
  const of = (key: keyof CopyRow): number => median(rows.map((row) => row[key]));
  return { mayDifferMib: of('mayDifferMib'), sentMib: of('sentMib'), seconds: of('seconds') };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The figures as a table. */
export function formatResync(figures: ResyncFigures): string {
  const { diskMib, changedPercent, fullCopy, byHash, resync, written, ratio } = figures;
  const row = (name: string, { mayDifferMib, sentMib, seconds }: CopyRow): string =>
    `${name.padEnd(10)} ${mayDifferMib} MiB may differ, ${sentMib} MiB sent, ${seconds} s`;
  return [
    `disk of ${diskMib} MiB, of which ${changedPercent} % changed`,
    row('full copy', fullCopy),
    row('by hash', byHash),
    row('resync', resync),
    `resync to full copy: ${ratio.sent} of its bytes, ${ratio.seconds} of its time`,
    `pages that the guest writes: ${written.alone}/s alone, ${written.cold}/s if their regions are not marked, ${written.meanwhile}/s while all is compared`,
    '',
  ].join('\n');
}
