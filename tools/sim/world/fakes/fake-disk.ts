import { diskBlocks } from '../resync/disk-history.ts';
import type { Agenda } from './agenda.ts';

/** A disk with a cache that a loss of power empties. Requests are done in order. */
export class FakeDisk {
  readonly cached: number[] = new Array(diskBlocks).fill(0);
  readonly durable: number[] = new Array(diskBlocks).fill(0);
  /** A write takes so long, ms. */
  latencyMs = 0.1;
  /** What is in the host's page cache takes so long to reach it, ms. The guest's requests do not wait for that. */
  backlogMs = 0;
  /** Set: every write fails with this. */
  broken: string | undefined;
  readonly #agenda: Agenda;
  #freeAt = 0;

  constructor(agenda: Agenda) {
    this.#agenda = agenda;
  }

  write(block: number, value: number, done: (error?: string) => void): void {
    this.#queue(() => {
      if (this.broken === undefined) this.cached[block] = value;
      done(this.broken);
    });
  }

  flush(done: (error?: string) => void): void {
    this.#queue(() => {
      if (this.broken === undefined) {
        for (let block = 0; block < diskBlocks; block++) this.durable[block] = this.cached[block] as number;
      }
      done(this.broken);
    });
  }

  /** Of all that the page cache holds, before the disk is copied. */
  flushBacklog(done: (error?: string) => void): void {
    this.#agenda.after(this.backlogMs, () => this.flush(done));
  }

  #queue(run: () => void): void {
    this.#freeAt = Math.max(this.#freeAt, this.#agenda.now) + this.latencyMs;
    this.#agenda.at(this.#freeAt, run);
  }
}
