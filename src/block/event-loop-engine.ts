import { AsyncFileCalls } from '../host/files/async-file-calls.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import type { BatchListener, Completion, DiskEngine } from './disk-engine.ts';
import type { EngineChooser } from './disk-engines.ts';

/** Calls at a time: all that Node's pool has threads for is on its way then, and some wait there. */
const mostCalls = 16;

/**
 * Disk calls for a thread that runs Node's event loop: they are made on threads of Node's pool, and completions come from the
 * event loop. Cheap enough for a copy in the background; each allocates.
 */
export class EventLoopEngine implements DiskEngine, EngineChooser {
  readonly #calls = new AsyncFileCalls();
  readonly #listeners: BatchListener[] = [];
  readonly #queue: { readonly begin: (done: (result: number) => void) => void; readonly completion: Completion }[] = [];
  #running = 0;

  get inFlight(): number {
    return this.#running + this.#queue.length;
  }

  engineFor(): DiskEngine {
    return this;
  }

  read(fd: Fd, data: IoVector, completion: Completion): void {
    this.#add((done) => this.#calls.read(fd, data, done), completion);
  }

  write(fd: Fd, data: IoVector, completion: Completion): void {
    this.#add((done) => this.#calls.write(fd, data, done), completion);
  }

  sync(fd: Fd, completion: Completion): void {
    this.#add((done) => this.#calls.sync(fd, done), completion);
  }

  allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    this.#add((done) => this.#calls.allocate(fd, mode, offset, length, done), completion);
  }

  /** They have begun already. */
  start(): void {}

  listen(listener: BatchListener): void {
    this.#listeners.push(listener);
  }

  close(): void {}

  #add(begin: (done: (result: number) => void) => void, completion: Completion): void {
    this.#queue.push({ begin, completion });
    this.#beginNext();
  }

  #beginNext(): void {
    while (this.#running < mostCalls) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#running++;
      next.begin((result) => {
        this.#running--;
        next.completion.finished(result);
        this.#beginNext();
        for (const listener of this.#listeners) listener.batchFinished();
      });
    }
  }
}
