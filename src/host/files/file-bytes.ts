import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { maxViewBytes, viewMemory } from '../libc/memory.ts';
import { AnonymousMapping } from '../mappings/mapping.ts';
import type { Closable } from '../ownership.ts';

/** The contents of a file that is needed once: memory that goes back to the system on {@link close}, not some time. */
export interface FileBytes extends Closable {
  readonly bytes: Uint8Array;
}

/** Reads a regular file. Errors are Node's (`code` ENOENT, EACCES, EISDIR, ...); the messages do not name the file. */
export function readFileBytes(path: string): FileBytes {
  const source = new FileSource(path);
  try {
    return source.read();
  } finally {
    source.close();
  }
}

/** A regular file that is open, to be read whole, and again. Errors as with {@link readFileBytes}. */
export class FileSource implements Closable {
  readonly #fd: number;

  constructor(path: string) {
    // Without O_NONBLOCK, opening a pipe that nobody writes to would never come back.
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(this.#fd);
      if (stat.isDirectory()) throw coded('EISDIR', 'it is a directory');
      if (!stat.isFile()) throw coded('EINVAL', 'it is not a regular file');
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** The bytes as they are now. The caller closes them. */
  read(): FileBytes {
    const { size } = fstatSync(this.#fd);
    if (size > maxViewBytes) throw coded('EFBIG', 'it is larger than 4 GiB');
    if (size === 0) return { bytes: new Uint8Array(0), close: () => {} };
    const mapping = new AnonymousMapping('file', size);
    try {
      const bytes = new Uint8Array(viewMemory(mapping.address, size));
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(this.#fd, bytes, filled, bytes.length - filled, filled);
        if (count === 0) break;
        filled += count;
      }
      return { bytes: bytes.subarray(0, filled), close: () => mapping.close() };
    } catch (error) {
      mapping.close();
      throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
