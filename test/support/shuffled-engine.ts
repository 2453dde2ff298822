import type { BatchListener, Completion, WatchedEngine } from '../../src/block/disk-engine.ts';
import { EventFd } from '../../src/host/events/eventfd.ts';
import { FileCalls } from '../../src/host/files/file-calls.ts';
import type { Fd } from '../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../src/host/mappings/io-vector.ts';

let made: FileCalls | undefined;

/** A thread's, which are dear to declare. */
function fileCalls(): FileCalls {
  made ??= new FileCalls();
  return made;
}

/** Makes the calls that it was given in any order, one with each {@link reap}, as a kernel might. */
export class ShuffledEngine implements WatchedEngine {
  readonly completions = new EventFd();
  readonly #random: (limit: number) => number;
  readonly #calls = fileCalls();
  readonly #submitted: { call: () => number; completion: Completion }[] = [];
  readonly #listeners: BatchListener[] = [];

  constructor(random: (limit: number) => number) {
    this.#random = random;
  }

  get inFlight(): number {
    return this.#submitted.length;
  }

  read(fd: Fd, data: IoVector, completion: Completion): void {
    this.#submitted.push({ call: () => this.#calls.read(fd, data), completion });
  }

  write(fd: Fd, data: IoVector, completion: Completion): void {
    this.#submitted.push({ call: () => this.#calls.write(fd, data), completion });
  }

  sync(fd: Fd, completion: Completion): void {
    this.#submitted.push({ call: () => this.#calls.sync(fd), completion });
  }

  allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    this.#submitted.push({ call: () => this.#calls.allocate(fd, mode, offset, length), completion });
  }

  start(): void {}

  reap(): void {
    const [next] = this.#submitted.splice(this.#random(this.#submitted.length), 1);
    if (next === undefined) return;
    next.completion.finished(next.call());
    for (const listener of this.#listeners) listener.batchFinished();
  }

  listen(listener: BatchListener): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.completions.close();
  }
}
