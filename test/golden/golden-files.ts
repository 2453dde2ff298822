import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decode, encode } from 'cbor-x';

const folder = new URL('./', import.meta.url);
const ending = '.cbor.hex';
const bytesOfLine = 48;

/** A state that some version of this program wrote. */
export interface GoldenFile {
  /** What it is the state of, and of which version: `block-1`. */
  readonly name: string;
  readonly kind: string;
  readonly value: unknown;
}

export function goldenFiles(): GoldenFile[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(ending))
    .sort()
    .map((file) => {
      const name = file.slice(0, -ending.length);
      const text = readFileSync(new URL(file, folder), 'latin1').replaceAll(/\s/g, '');
      return { name, kind: name.replace(/-\d+$/, ''), value: decode(Buffer.from(text, 'hex')) };
    });
}

/** Kind of the state of a whole machine, which is loaded on its own. */
export const wholeMachine = 'machine';

/**
 * Writes a file that is not there yet; false if it is, for what a version once wrote is never changed.
 *
 * @param state a value, or its encoding
 */
export function writeGoldenFile(name: string, state: unknown): boolean {
  const hex = Buffer.from(state instanceof Uint8Array ? state : encode(state)).toString('hex');
  const lines = hex.match(new RegExp(`.{1,${2 * bytesOfLine}}`, 'g')) ?? [];
  try {
    writeFileSync(fileURLToPath(new URL(`${name}${ending}`, folder)), `${lines.join('\n')}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
