import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { isGivenUp, readPairStamp, stampOf, writePairStamp } from '../../../block/pair-stamp.ts';
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

/** Where the stamps of these disks are, if they have any. */
export function stampsOf(disks: readonly HistoryDisk[]): string[] {
  return disks.filter(({ readOnly }) => !readOnly).map(({ path }) => stampOf(path));
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
  readonly #setTimes: typeof utimes;
  #timer: NodeJS.Timeout | undefined;
  /** What is to be said next: until then only this process wrote to the disks. */
  #touchAt: number | undefined;
  /** One after the other, so that a disk that hangs takes one of the process's few threads for calls on files, and what came first is not
   * done last. */
  #writing: Promise<unknown> = Promise.resolve();

  /** @param setTimes of a file */
  constructor(stateDirectory: string, pair: string, setTimes: typeof utimes = utimes) {
    this.#pair = pair;
    this.#setTimes = setTimes;
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
   * These disks are a log's with that id from now on. Durable. What any other log says of them is believed no more, whether or not
   * anything can be written in the state directory. Before anybody else hears of that log.
   */
  async stamp(disks: readonly HistoryDisk[], log: Uint8Array): Promise<void> {
    const id = Buffer.from(log).toString('hex');
    await Promise.all(
      disks.map(async ({ path, readOnly }) => {
        if (!readOnly && (await stat(path)).isFile()) await writePairStamp(path, this.#pair, id);
      }),
    );
  }

  /** These disks are no log's. Durable, as {@link stamp}. */
  async unstamp(disks: readonly HistoryDisk[]): Promise<void> {
    await Promise.all(stampsOf(disks).map(removeFile));
  }

  /**
   * A new log, in which all regions are marked, or none. Durable.
   *
   * @param sizes of all disks
   */
  async newLog(id: Uint8Array, sizes: readonly number[], marked: boolean): Promise<void> {
    const { count } = regionPlaces(sizes);
    const bitmap = new Uint8Array(regionBitmapBytes(count)).fill(marked ? 0xff : 0);
    await this.#after(() => replaceFile(this.#log, encodeRegionFile(id, bitmap, count)));
  }

  /**
   * From now on these disks, which have that log's {@link stamp}, are of that generation, and changed where the log says. Durable.
   *
   * @param suspect where they may differ from the other side's besides, regions: nothing marks that in the log
   */
  async write(
    generation: Generation,
    log: Uint8Array,
    disks: readonly HistoryDisk[],
    suspect: Uint8Array = new Uint8Array(0),
  ): Promise<void> {
    await this.#after(async () => {
      const saved: Saved = {
        pair: this.#pair,
        generation,
        log: Buffer.from(log).toString('hex'),
        suspect: Buffer.from(suspect).toString('base64'),
        disks: await Promise.all(
          disks.map(async ({ path, sizeBytes }) => ({ inode: (await stat(path)).ino, sizeBytes })),
        ),
      };
      const line = JSON.stringify(saved);
      await replaceFile(this.#record, `${line}\n${hashOf(line)}\n`);
    });
  }

  /** Nothing is known of the disks any more. Durable. What cannot be removed is not said to be true once more. */
  async forget(): Promise<void> {
    this.#stopTouching();
    this.#touchAt = undefined;
    await this.#after(() => removeFile(this.#record));
  }

  /** Says again and again, until {@link rest}, that whoever writes to the disks is this process. */
  watch(): void {
    if (this.#timer !== undefined) return;
    this.#touch();
    this.#timer = setInterval(() => this.#touch(), touchMs);
    this.#timer.unref();
  }

  /** Nothing writes to the disks here any more: said before {@link settled}. */
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
    const isWaiting = this.#touchAt !== undefined;
    this.#touchAt = Date.now() / 1000;
    if (isWaiting) return;
    void this.#after(async () => {
      const at = this.#touchAt;
      this.#touchAt = undefined;
      // What cannot be said is doubted.
      if (at !== undefined) await this.#setTimes(this.#record, at, at).catch(() => {});
    });
  }
}

function doubtOf(disk: HistoryDisk, saved: Saved['disks'][number], log: string, touchedAt: number): string | undefined {
  const { path, sizeBytes } = disk;
  const stat = statSync(path);
  if (stat.ino !== saved.inode || sizeBytes !== saved.sizeBytes) return `${path} is another disk`;
  if (disk.readOnly) return undefined;
  if (!stat.isFile()) return `nobody knows who has written to ${path}, which is a device`;
  const stamp = readPairStamp(path);
  if (isGivenUp(stamp)) return `what changed on ${path} could not be written down`;
  if (stamp?.log !== log) return `${path} was used for something else`;
  if (stat.mtimeMs > touchedAt + slackMs) return `${path} was written by somebody else`;
  return undefined;
}

function hashOf(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}
