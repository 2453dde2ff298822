import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { maxViewBytes, viewMemory } from './libc.ts';
import { AnonymousMapping } from './mapping.ts';
import type { Closable } from './ownership.ts';

/** The contents of a file that is needed once: memory that goes back to the system on {@link close}, not some time. */
export interface FileBytes extends Closable {
  readonly bytes: Uint8Array;
}

/** Reads a regular file. Errors are Node's (`code` ENOENT, EACCES, EISDIR, ...); the messages do not name the file. */
export function readFileBytes(path: string): FileBytes {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would never come back.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw coded('EISDIR', 'it is a directory');
    if (!stat.isFile()) throw coded('EINVAL', 'it is not a regular file');
    if (stat.size > maxViewBytes) throw coded('EFBIG', 'it is larger than 4 GiB');
    if (stat.size === 0) return { bytes: new Uint8Array(0), close: () => {} };
    const mapping = new AnonymousMapping('file', stat.size);
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

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
