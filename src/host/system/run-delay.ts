import { closeSync, openSync, readSync } from 'node:fs';
import type { Closable } from '../ownership.ts';

const nsPerMs = 1e6;

/**
 * How long threads of this process could have run and had to wait for a processor: their run delay, which the kernel counts. On a kernel
 * that does not, and of a thread that is not there, it is nothing.
 */
export class RunDelay implements Closable {
  readonly #files: number[] = [];
  readonly #text = Buffer.alloc(128);

  /** @param tids the kernel's numbers of the threads */
  constructor(tids: readonly number[]) {
    for (const tid of tids) {
      try {
        this.#files.push(openSync(`/proc/self/task/${tid}/schedstat`, 'r'));
      } catch {
        // See above.
      }
    }
  }

  /** Of all together since they began, ms. */
  get ms(): number {
    let ns = 0;
    for (const file of this.#files) ns += this.#read(file);
    return ns / nsPerMs;
  }

  close(): void {
    for (const file of this.#files.splice(0)) closeSync(file);
  }

  /** The line is: ns that it ran, ns that it waited, how often it ran. */
  #read(file: number): number {
    try {
      const length = readSync(file, this.#text, 0, this.#text.length, 0);
      return Number(this.#text.toString('latin1', 0, length).split(' ')[1] ?? 0);
    } catch {
      return 0; // it has ended
    }
  }
}
