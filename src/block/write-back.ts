import { EAGAIN, EINTR } from '../host/errno.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { Completion, DiskEngine } from './disk-engine.ts';

/** A call that was interrupted, or should come again, is made again this often before that is its error. */
export const mostRetries = 1000;

/** Whether a call is to be made once more: nothing of it was done, and nothing is wrong. */
export function isTransient(result: number): boolean {
  return result === -EAGAIN || result === -EINTR;
}

/**
 * How a file's data becomes durable: by fdatasync, one at a time, for all who ask; those who come meanwhile share the next
 * one.
 *
 * A failure stays. Linux drops what it could not write, marks it clean and tells of it once (fsync(2)): the next call
 * would succeed, over data that is lost. So every later one fails here, until the file is opened again. One call at a
 * time, because of two at once the kernel tells only the first.
 */
export class WriteBack implements Completion {
  /** 0, or the negative errno of the fdatasync that failed. */
  lost = 0;
  readonly #fd: Fd;
  readonly #engine: DiskEngine;
  // Those whom the call under way is for, and the next one.
  #current: Completion[] = [];
  #next: Completion[] = [];
  #busy = false;
  #retries = 0;

  constructor(fd: Fd, engine: DiskEngine) {
    this.#fd = fd;
    this.#engine = engine;
  }

  /** Covers all writes that are finished; `waiting` gets 0 or a negative errno, perhaps at once. */
  sync(waiting: Completion): void {
    if (this.lost !== 0) {
      waiting.finished(this.lost);
      return;
    }
    this.#next.push(waiting);
    if (!this.#busy) this.#begin();
  }

  /** For the engine only. */
  finished(result: number): void {
    if (isTransient(result) && this.#retries++ < mostRetries) {
      this.#engine.sync(this.#fd, this);
      return;
    }
    if (result < 0) this.lost = result;
    this.#tell(this.#current, result);
    if (this.lost !== 0) this.#tell(this.#next, this.lost);
    this.#busy = false;
    if (this.#next.length > 0) this.#begin();
  }

  #begin(): void {
    const spent = this.#current;
    this.#current = this.#next;
    this.#next = spent;
    this.#busy = true;
    this.#retries = 0;
    this.#engine.sync(this.#fd, this);
  }

  #tell(waiting: Completion[], result: number): void {
    for (let index = 0; index < waiting.length; index++) (waiting[index] as Completion).finished(result);
    waiting.length = 0;
  }
}
