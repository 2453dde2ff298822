import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { viewMemory } from './libc.ts';
import { MemfdMapping } from './mapping.ts';
import type { Closable } from './ownership.ts';

/** The contents of a file that is needed once: memory that goes back to the system on {@link close}, not some time. */
export interface FileBytes extends Closable {
  readonly bytes: Uint8Array;
}

/** Reads a regular file. Errors are Node's (`code` ENOENT, EACCES, EISDIR, ...). */
export function readFileBytes(path: string): FileBytes {
  const fd = openSync(path, 'r');
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw Object.assign(new Error(`${path} is a directory`), { code: 'EISDIR' });
    if (stat.size === 0) return { bytes: new Uint8Array(0), close: () => {} };
    const mapping = new MemfdMapping(path, stat.size);
    try {
      const bytes = new Uint8Array(viewMemory(mapping.address, stat.size));
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(fd, bytes, filled, bytes.length - filled, null);
        if (count === 0) break;
        filled += count;
      }
      return { bytes: bytes.subarray(0, filled), close: () => mapping.close() };
    } catch (error) {
      mapping.close();
      throw error;
    }
  } finally {
    closeSync(fd);
  }
}
