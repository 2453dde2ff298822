import { performance } from 'node:perf_hooks';
import { EAGAIN, EINTR, errnoName } from '../errno.ts';
import { type Fd, tryWrite } from '../libc/descriptors.ts';
import { tell } from './tell.ts';

/** A file that took nothing is tried again after this time. */
const lookAgainMs = 100;
const LF = 0x0a;

/** What a log needs of the system. */
export interface LogSystem {
  /** Writes a part of the bytes; the count, or a negative errno. */
  write(bytes: Uint8Array): number;
  nowMs(): number;
  tell(text: string): void;
}

/** A regular file's own. */
export function logSystem(fd: number): LogSystem {
  return { write: (bytes) => tryWrite(fd as Fd, bytes), nowMs: () => performance.now(), tell };
}

/**
 * Writes to a regular file that may be unable to take anything for a while: its disk is full, a quota or limit is reached. Until
 * it can again, what is written is counted and dropped, for a guest must not wait for its log; then a line in the file says how
 * much is missing, and the log goes on.
 */
export class LogOutput {
  readonly #system: LogSystem;
  /** Bytes dropped that no line in the file speaks of. */
  #lost = 0;
  /** What is left of a line that the file took only in part. */
  #note: Uint8Array = new Uint8Array(0);
  #nextLook = 0;
  #isInLine = false;
  #hasTold = false;

  constructor(system: LogSystem) {
    this.#system = system;
  }

  /** Writes what fits now, or drops all; the count. 0: a signal came in between, try again. */
  write(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    if (!this.#catchUp()) {
      this.#lost += bytes.length;
      return bytes.length;
    }
    const count = this.#attempt(bytes);
    if (count >= 0) return count;
    this.#lost += bytes.length;
    return bytes.length;
  }

  /** Says in the file what is missing, if it has room again. */
  close(): void {
    this.#nextLook = 0;
    this.#catchUp();
  }

  /** Writes what is to be read before anything new; false as long as the file cannot take it. */
  #catchUp(): boolean {
    while (this.#note.length > 0 || this.#lost > 0) {
      if (this.#system.nowMs() < this.#nextLook) return false;
      const isNew = this.#note.length === 0;
      const text = isNew ? this.#missing() : this.#note;
      const count = this.#attempt(text);
      if (count <= 0) return false;
      if (isNew) this.#lost = 0;
      this.#note = text.subarray(count);
    }
    return true;
  }

  #missing(): Uint8Array {
    const start = this.#isInLine ? '\r\n' : '';
    return Buffer.from(`${start}colo-vmm: ${this.#lost} bytes of output are missing here\r\n`);
  }

  /** The bytes that the file took; -1 if it takes none now. */
  #attempt(bytes: Uint8Array): number {
    const count = this.#system.write(bytes);
    if (count > 0) this.#isInLine = bytes[count - 1] !== LF;
    if (count >= 0) return count;
    if (count === -EINTR || count === -EAGAIN) return 0;
    this.#nextLook = this.#system.nowMs() + lookAgainMs;
    if (!this.#hasTold) {
      this.#hasTold = true;
      this.#system.tell(
        `colo-vmm: the console's output cannot be written (${errnoName(-count)}): it is dropped until it can, and a line in the file will say how much is missing\n`,
      );
    }
    return -1;
  }
}
