import type { BlockBackend, BlockRequest } from '../block-backend.ts';

/** Flushes that no guest asked for, of several disks at a time. */
export class OwnFlushes {
  readonly #disks: readonly BlockBackend[];
  readonly #requests: readonly OwnFlush[];
  readonly #done: (result: number) => void;
  #left = 0;
  #result = 0;

  /** @param done gets 0, or the negative errno of one that failed */
  constructor(disks: readonly BlockBackend[], done: (result: number) => void) {
    this.#disks = disks;
    this.#requests = disks.map(() => new OwnFlush((result) => this.#finished(result)));
    this.#done = done;
  }

  get isBusy(): boolean {
    return this.#left > 0;
  }

  begin(disks: readonly number[]): void {
    this.#result = 0;
    this.#left = disks.length + 1;
    for (const disk of disks) {
      this.#disks[disk]?.flush(this.#requests[disk] as OwnFlush);
      this.#disks[disk]?.start();
    }
    this.#finished(0);
  }

  #finished(result: number): void {
    if (result < 0) this.#result = result;
    if (--this.#left === 0) this.#done(this.#result);
  }
}

class OwnFlush implements BlockRequest {
  readonly offset = 0;
  readonly length = 0;
  readonly finished: (result: number) => void;

  constructor(finished: (result: number) => void) {
    this.finished = finished;
  }

  get data(): never {
    throw new Error('a flush has no data');
  }
}
