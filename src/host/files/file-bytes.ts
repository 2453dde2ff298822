import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Fd } from '../libc/descriptors.ts';
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
  readonly fd: Fd;
  #isOpen = true;

  /** @param file a path, or a file that is open: this object's from now on */
  constructor(file: string | Fd) {
    // Without O_NONBLOCK, opening a pipe that nobody writes to would never come back.
    this.fd = typeof file === 'string' ? (openSync(file, constants.O_RDONLY | constants.O_NONBLOCK) as Fd) : file;
    try {
      const stat = fstatSync(this.fd);
      if (stat.isDirectory()) throw coded('EISDIR', 'it is a directory');
      if (!stat.isFile()) throw coded('EINVAL', 'it is not a regular file');
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  get sizeBytes(): number {
    return fstatSync(this.fd).size;
  }

  /** The bytes as they are now. The caller closes them. */
  read(): FileBytes {
    const size = this.sizeBytes;
    if (size > maxViewBytes) throw coded('EFBIG', 'it is larger than 4 GiB');
    if (size === 0) return { bytes: new Uint8Array(0), close: () => {} };
    const mapping = new AnonymousMapping('file', size);
    try {
      const bytes = new Uint8Array(viewMemory(mapping.address, size));
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(this.fd, bytes, filled, bytes.length - filled, filled);
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
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.fd);
  }
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
