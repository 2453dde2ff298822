import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Progress, silent } from './progress.ts';

/**
 * What was fetched or built once and is used again.
 *
 *     <root>/<kind>/<key>            an entry: a folder, whole or not there at all
 *     <root>/<kind>/tmp-<pid>-<hex>  an entry being built; renamed when it is whole
 *     <root>/<kind>/<key>.lock       someone builds this entry (its process id); saves double work, protects nothing
 *
 * A key is a hash of all that an entry is made of, so an entry never changes and two builders of one
 * key make the same thing: whoever renames second throws his away.
 */
export function cacheRoot(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'colo-vmm');
}

/** A short name for what `parts` are: the same parts give the same key on every machine. */
export function keyOf(...parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 20);
}

export interface CacheRequest {
  /** The folder of the cache, such as `packages`. */
  readonly kind: string;
  readonly key: string;
  readonly progress?: Progress;
  /** Fills the empty folder `directory`. If it throws, nothing is left. */
  readonly build: (directory: string) => Promise<void>;
}

/** The folder of an entry, built first if it is not there. */
export async function cached(request: CacheRequest): Promise<string> {
  const folder = join(cacheRoot(), request.kind);
  const entry = join(folder, request.key);
  if (existsSync(entry)) {
    await markUsed(entry);
    return entry;
  }
  await mkdir(folder, { recursive: true });
  return withLock(`${entry}.lock`, request.progress ?? silent, async () => {
    if (existsSync(entry)) return entry;
    await removeStale(folder);
    const work = join(folder, `tmp-${process.pid}-${randomBytes(4).toString('hex')}`);
    await mkdir(work);
    try {
      await request.build(work);
      await renameUnlessThere(work, entry);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    return entry;
  });
}

async function renameUnlessThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!existsSync(to)) throw error;
  }
}

/** An entry's time of change is when it was last used. */
export async function markUsed(entry: string): Promise<void> {
  await utimes(entry, new Date(), new Date()).catch(() => {});
}

const unusedAfterMs = 30 * 24 * 60 * 60 * 1000;

/** Removes what killed builds left, and entries that newer ones replaced long ago. */
async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const pid = /^tmp-(\d+)-/.exec(name)?.[1];
    const isStale =
      pid === undefined
        ? Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now()) > unusedAfterMs
        : !isAlive(Number(pid));
    if (isStale) await rm(path, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const lockBeatMs = 2000;
const lockStaleMs = 20_000;

/**
 * Runs `work` while holding the lock file `path`, waiting for its present holder.
 * A lock whose holder died, or did not touch it for 20 s, counts as free.
 */
export async function withLock<T>(path: string, progress: Progress, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  let isTold = false;
  for (;;) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(`${process.pid}\n`);
      await file.close();
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => ''));
    const touched = await stat(path).catch(() => undefined);
    if (touched === undefined) continue;
    const age = Date.now() - touched.mtimeMs;
    if (age > lockStaleMs || (holder > 0 && !isAlive(holder))) {
      await rm(path, { force: true });
      continue;
    }
    if (!isTold) progress(`waiting for process ${holder}, which builds the same`);
    isTold = true;
    await sleep(200);
  }
  const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), lockBeatMs);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    await rm(path, { force: true });
  }
}

/** Writes a file that others may be reading: they see the old content or the new, never a part. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const beside = `${path}.${process.pid}-${randomBytes(4).toString('hex')}`;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(beside, content);
  await rename(beside, path);
}

export interface CacheEntry {
  readonly kind: string;
  readonly key: string;
  readonly path: string;
  readonly sizeBytes: number;
}

/** Every entry of the cache, with what it occupies on disk. */
export async function listCache(): Promise<CacheEntry[]> {
  const root = cacheRoot();
  const entries: CacheEntry[] = [];
  for (const kind of await readdir(root).catch(() => [] as string[])) {
    for (const key of await readdir(join(root, kind)).catch(() => [] as string[])) {
      if (key.endsWith('.lock')) continue;
      const path = join(root, kind, key);
      entries.push({ kind, key, path, sizeBytes: await sizeOnDisk(path) });
    }
  }
  return entries;
}

/** Removes the whole cache. Whoever uses an entry at this moment keeps only the files it has open. */
export async function cleanCache(): Promise<void> {
  await rm(cacheRoot(), { recursive: true, force: true });
}

async function sizeOnDisk(path: string): Promise<number> {
  const info = await lstat(path).catch(() => undefined);
  if (info === undefined) return 0;
  if (!info.isDirectory()) return info.blocks * 512;
  let sum = 0;
  for (const name of await readdir(path)) sum += await sizeOnDisk(join(path, name));
  return sum;
}
