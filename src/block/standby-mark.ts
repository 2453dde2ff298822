import { readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { replaceFile } from '../host/files/replace-file.ts';

/** What is said beside a disk that a standby writes: it is a copy. */
export interface StandbyMark {
  /** Of which pair, and its term then. */
  readonly pair: string;
  readonly term: number;
  /**
   * The disk stands at this checkpoint of its primary's, or at a later one. Absent: it is being copied, and is neither what it
   * was nor what it is to be.
   */
  readonly epoch?: number;
}

function markOf(path: string): string {
  return `${path}.standby`;
}

/** Whether there can be a mark beside it: devices lie where files do not last. */
export function takesMark(path: string): boolean {
  return statSync(path).isFile();
}

/** Survives a loss of power once it resolves. @throws Error that names the file */
export async function writeMark(path: string, mark: StandbyMark): Promise<void> {
  try {
    await replaceFile(markOf(path), `${JSON.stringify(mark)}\n`);
  } catch (error) {
    throw new Error(`${markOf(path)}: ${(error as Error).message}`, { cause: error });
  }
}

/** The disk is its machine's own. One that comes back with a loss of power only warns. */
export async function removeMark(path: string): Promise<void> {
  await rm(markOf(path), { force: true });
}

/** What whoever uses this disk should know, as a sentence with the remedy; undefined if there is no mark. */
export function markWarning(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(markOf(path), 'utf8');
  } catch {
    return undefined;
  }
  const { pair, epoch } = readMark(text);
  const ofPair = pair === undefined ? 'a pair' : `the pair ${pair}`;
  const remedy = `remove ${markOf(path)} if it is to be used as it is`;
  if (epoch === undefined) {
    return `${path} was being copied as a standby's disk of ${ofPair} and is not whole: start it as a standby again, or ${remedy}`;
  }
  return `${path} is a standby's disk of ${ofPair}, and its primary's has probably changed since: start it as a standby, or ${remedy}`;
}

/** As much of it as can be read. */
function readMark(text: string): { pair?: string; epoch?: number } {
  try {
    const { pair, epoch } = JSON.parse(text) as Record<string, unknown>;
    return {
      ...(typeof pair === 'string' ? { pair } : {}),
      ...(typeof epoch === 'number' ? { epoch } : {}),
    };
  } catch {
    return {};
  }
}
