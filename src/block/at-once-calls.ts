import type { EventFd } from '../host/events/eventfd.ts';
import { FileCalls } from '../host/files/file-calls.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import type { BatchListener, Completion, WatchedEngine } from './disk-engine.ts';
import type { UringEngine } from './uring-engine.ts';

/** Calls on files that never wait, made at once; completions come in the batches of the engine for all the others. */
export class AtOnceCalls implements WatchedEngine {
  readonly #calls = new FileCalls();
  readonly #engine: UringEngine;

  constructor(engine: UringEngine) {
    this.#engine = engine;
  }

  get completions(): EventFd {
    return this.#engine.completions;
  }

  get inFlight(): number {
    return this.#engine.inFlight;
  }

  read(fd: Fd, data: IoVector, completion: Completion): void {
    this.#engine.finishLater(completion, this.#calls.read(fd, data));
  }

  write(fd: Fd, data: IoVector, completion: Completion): void {
    this.#engine.finishLater(completion, this.#calls.write(fd, data));
  }

  sync(fd: Fd, completion: Completion): void {
    this.#engine.finishLater(completion, this.#calls.sync(fd));
  }

  allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    this.#engine.finishLater(completion, this.#calls.allocate(fd, mode, offset, length));
  }

  start(): void {
    this.#engine.start();
  }

  reap(): void {
    this.#engine.reap();
  }

  listen(listener: BatchListener): void {
    this.#engine.listen(listener);
  }

  /** The engine is its owner's. */
  close(): void {}
}
