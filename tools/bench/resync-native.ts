import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { Pair } from '../../test/support/pair.ts';
import { writingWhenTold } from '../../test/support/virtio-guests.ts';
import { kernelFile, type VmmProcess } from '../../test/support/vmm-process.ts';
import { type CopyRow, type ResyncFigures, resyncFigures, type WrittenRow } from './resync-report.ts';
import { type SpeedRow, speedWhileCopied } from './resync-speed.ts';
import { rounded } from './statistics.ts';

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
  const speed: SpeedRow[] = [];
  for (let round = 1; round <= rounds; round++) {
    const row = await measured();
    full.push(row.full);
    byHash.push(row.byHash);
    resync.push(row.resync);
    written.push(row.written);
    speed.push(await speedWhileCopied());
    progress(`round ${round}/${rounds}: ${JSON.stringify({ ...row, speed: speed.at(-1) })}`);
  }
  return resyncFigures({
    ...{ full, byHash, resync, written, speed },
    diskMib: diskBytes / MiB,
    changedPercent: rounded((100 * pages * pageBytes) / diskBytes, 2),
  });
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

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
