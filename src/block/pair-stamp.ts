import { closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { replaceFile } from '../host/files/replace-file.ts';

/**
 * What is said beside a disk of a pair: which log, in the pair's state directory, knows what changes on it. Whoever uses the disk for
 * something else removes it, so that nobody relies on that log.
 */
export interface PairStamp {
  readonly pair: string;
  /** The log's id. */
  readonly log: string;
}

/** The log of a stamp that says that none is kept. */
const noLog = 'given up';

/** Where a disk's stamp is. */
export function stampOf(path: string): string {
  return `${path}.pair`;
}

/** Survives a loss of power once it resolves. */
export async function writePairStamp(path: string, pair: string, log: string): Promise<void> {
  await replaceFile(stampOf(path), `${JSON.stringify({ pair, log } satisfies PairStamp)}\n`);
}

/** Undefined if there is none, or nothing that can be read as one. */
export function readPairStamp(path: string): Partial<PairStamp> | undefined {
  try {
    return JSON.parse(readFileSync(stampOf(path), 'utf8')) as Partial<PairStamp>;
  } catch {
    return undefined;
  }
}

/**
 * What is written over a stamp, in place, when its log cannot be kept any more: whatever that log says, nobody relies on it.
 *
 * @param sizeBytes of the file
 */
export function givenUpStamp(sizeBytes: number): Uint8Array {
  return Buffer.from(JSON.stringify({ log: noLog }).padEnd(sizeBytes));
}

/** What changed on its disk since was not kept. */
export function isGivenUp(stamp: Partial<PairStamp> | undefined): boolean {
  return stamp?.log === noLog;
}

/** The disk is used for something that no log knows of. On return that survives a loss of power. */
export function removePairStamp(path: string): void {
  const stamp = stampOf(path);
  if (!existsSync(stamp)) return;
  rmSync(stamp, { force: true });
  const folder = openSync(dirname(stamp), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
