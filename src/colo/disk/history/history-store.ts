import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { readPairStamp, writePairStamp } from '../../../block/pair-stamp.ts';
import {
  decodeRegionFile,
  encodeRegionFile,
  logIdBytes,
  regionBitmapBytes,
  regionPlaces,
} from '../../../block/replicated/region-file.ts';
import { removeFile, replaceFile } from '../../../host/files/replace-file.ts';
import { type Generation, type History, unitedRegions } from './history.ts';

/** A disk as its history knows it. */
export interface HistoryDisk {
  /** What is written: the overlay, where there is one. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

/** Why nothing is known of disks that were in no pair. */
export const noHistory = 'they were in no pair';

/** What is known of disks, and the log in which that goes on. */
export interface StoredHistory extends History {
  /** The log's id. */
  readonly log: Uint8Array;
}

/** It is said so often that the disks are this pair's still. */
const touchMs = 1000;
/** A disk that was written so long after that was said last was written by somebody else. */
const slackMs = 5000;

const hex = v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${2 * logIdBytes}}$`)));
const schema = v.strictObject({
  pair: v.string(),
  generation: hex,
  log: hex,
  suspect: v.string(),
  disks: v.array(v.strictObject({ inode: v.number(), sizeBytes: v.number() })),
});
type Saved = v.InferOutput<typeof schema>;

/**
 * What is known of a machine's disks after whatever ended it, in its pair's state directory:
 *
 *     disks.json      of which generation they are, which files, which log belongs to that, and where else they may differ (a bitmap of
 *                     regions); one line, and a line with its hash
 *     activity.log    the regions that may have been written since (block/replicated/region-file.ts)
 *     DISK.pair       beside each disk, the log's id: whoever uses the disk for something else removes it
 *
 * Anything that does not fit together is no history at all.
 */
export class HistoryStore {
  readonly #pair: string;
  readonly #record: string;
  readonly #log: string;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(stateDirectory: string, pair: string) {
    this.#pair = pair;
    this.#record = join(stateDirectory, 'disks.json');
    this.#log = join(stateDirectory, 'activity.log');
  }

  /** Path of the file of regions. */
  get logPath(): string {
    return this.#log;
  }

  /**
   * What is known of these disks, which are open and have not been written yet; or why nothing is.
   */
  read(disks: readonly HistoryDisk[]): StoredHistory | string {
    try {
      const [line = '', hash = ''] = readFileSync(this.#record, 'utf8').split('\n');
      if (hash !== hashOf(line)) return `${this.#record} is not whole`;
      const { pair, generation, log, suspect, disks: saved } = v.parse(schema, JSON.parse(line));
      if (pair !== this.#pair) return `${this.#record} is of the pair ${pair}`;
      const touchedAt = statSync(this.#record).mtimeMs;
      if (saved.length !== disks.length) return 'the machine has other disks now';
      for (const [index, disk] of disks.entries()) {
        const doubt = doubtOf(disk, saved[index] as Saved['disks'][number], log, touchedAt);
        if (doubt !== undefined) return doubt;
      }
      const { count } = regionPlaces(disks.map(({ sizeBytes }) => sizeBytes));
      const id = new Uint8Array(Buffer.from(log, 'hex'));
      const regions = decodeRegionFile(readFileSync(this.#log), id, count);
      if (regions === undefined) return `${this.#log} is not whole, or another one's`;
      return { generation, regions: unitedRegions(regions, Buffer.from(suspect, 'base64')), log: id };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return noHistory;
      return (error as Error).message;
    }
  }

  /**
   * A new log, in which all regions are marked, or none. Durable. What was known before is not any more.
   *
   * @param sizes of all disks
   */
  async newLog(sizes: readonly number[], marked: boolean): Promise<Uint8Array> {
    const id = new Uint8Array(randomBytes(logIdBytes));
    const { count } = regionPlaces(sizes);
    const bitmap = new Uint8Array(regionBitmapBytes(count)).fill(marked ? 0xff : 0);
    await this.#after(() => replaceFile(this.#log, encodeRegionFile(id, bitmap, count)));
    return id;
  }

  /**
   * From now on these disks are of that generation, and changed where that log says. Durable.
   *
   * @param suspect where they may differ from the other side's besides, regions: nothing marks that in the log
   */
  async write(
    generation: Generation,
    log: Uint8Array,
    disks: readonly HistoryDisk[],
    suspect: Uint8Array = new Uint8Array(0),
  ): Promise<void> {
    const id = Buffer.from(log).toString('hex');
    await this.#after(async () => {
      await Promise.all(disks.filter(isStamped).map(({ path }) => writePairStamp(path, this.#pair, id)));
      const saved: Saved = {
        pair: this.#pair,
        generation,
        log: id,
        suspect: Buffer.from(suspect).toString('base64'),
        disks: disks.map(({ path, sizeBytes }) => ({ inode: statSync(path).ino, sizeBytes })),
      };
      const line = JSON.stringify(saved);
      await replaceFile(this.#record, `${line}\n${hashOf(line)}\n`);
    });
  }

  /** Nothing is known of the disks any more. Durable. What cannot be removed is not said to be true once more. */
  async forget(): Promise<void> {
    this.#stopTouching();
    await this.#after(() => removeFile(this.#record));
  }

  /** Says again and again, until {@link rest}, that whoever writes to the disks is this process. */
  watch(): void {
    if (this.#timer !== undefined) return;
    this.#touch();
    this.#timer = setInterval(() => this.#touch(), touchMs);
    this.#timer.unref();
  }

  /** Nothing writes to the disks here any more. */
  rest(): void {
    if (this.#timer === undefined) return;
    this.#stopTouching();
    this.#touch();
  }

  #stopTouching(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Resolves when nothing is written any more. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  #after(write: () => Promise<void>): Promise<void> {
    const written = this.#writing.then(write);
    this.#writing = written.catch(() => {});
    return written;
  }

  #touch(): void {
    const now = Date.now() / 1000;
    try {
      utimesSync(this.#record, now, now);
    } catch {
      // Then it is doubted.
    }
  }
}

function doubtOf(disk: HistoryDisk, saved: Saved['disks'][number], log: string, touchedAt: number): string | undefined {
  const { path, sizeBytes } = disk;
  const stat = statSync(path);
  if (stat.ino !== saved.inode || sizeBytes !== saved.sizeBytes) return `${path} is another disk`;
  if (disk.readOnly) return undefined;
  if (!stat.isFile()) return `nobody knows who has written to ${path}, which is a device`;
  if (readPairStamp(path)?.log !== log) return `${path} was used for something else`;
  if (stat.mtimeMs > touchedAt + slackMs) return `${path} was written by somebody else`;
  return undefined;
}

function isStamped({ path, readOnly }: HistoryDisk): boolean {
  return !readOnly && statSync(path).isFile();
}

function hashOf(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}
