import { EventFd } from '../host/events/eventfd.ts';
import { FileCalls } from '../host/files/file-calls.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import type { BatchListener, Completion, WatchedEngine } from './disk-engine.ts';
import { DoneQueue } from './done-queue.ts';

/**
 * Disk calls made at once, on the thread that submits them: for hosts without io_uring. A slow disk then holds up
 * everything that this thread does.
 */
export class PlainEngine implements WatchedEngine {
  readonly completions = new EventFd();
  inFlight = 0;
  readonly #calls = new FileCalls();
  readonly #listeners: BatchListener[] = [];
  readonly #done = new DoneQueue();
  #working = false;
  #open = true;

  read(fd: Fd, data: IoVector, completion: Completion): void {
    this.#finish(completion, this.#calls.read(fd, data));
  }

  write(fd: Fd, data: IoVector, completion: Completion): void {
    this.#finish(completion, this.#calls.write(fd, data));
  }

  sync(fd: Fd, completion: Completion): void {
    this.#finish(completion, this.#calls.sync(fd));
  }

  allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    this.#finish(completion, this.#calls.allocate(fd, mode, offset, length));
  }

  start(): void {
    this.reap();
  }

  /** Hot path. */
  reap(): void {
    if (this.#working || this.#done.empty) return;
    this.#working = true;
    while (!this.#done.empty) {
      this.inFlight--;
      this.#done.deliver();
    }
    this.#working = false;
    for (const listener of this.#listeners) listener.batchFinished();
  }

  listen(listener: BatchListener): void {
    this.#listeners.push(listener);
  }

  close(): void {
    if (this.#open) this.completions.close();
    this.#open = false;
  }

  #finish(completion: Completion, result: number): void {
    this.#done.add(completion, result);
    this.inFlight++;
  }
}
