import type { EventFd } from '../host/events/eventfd.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import type { Closable } from '../host/ownership.ts';

/** Whoever waits for a system call on a file. */
export interface Completion {
  /** Called once: the count of bytes (which may be short) or 0, or a negative errno. */
  finished(result: number): void;
}

/** Told once after each batch of completions. */
export interface BatchListener {
  batchFinished(): void;
}

/**
 * How system calls on files are made, for all disks of one thread. Calls are collected until {@link start}; their
 * completions come later, never from the call that submits.
 *
 * Vectors and the memory they name belong to the engine until the completion.
 */
export interface DiskEngine extends Closable {
  /** Calls submitted and not yet finished. */
  readonly inFlight: number;
  /** From `data.offset` of the file. */
  read(fd: Fd, data: IoVector, completion: Completion): void;
  /** To `data.offset` of the file. */
  write(fd: Fd, data: IoVector, completion: Completion): void;
  /** fdatasync: covers all writes to `fd` that are finished. */
  sync(fd: Fd, completion: Completion): void;
  /** fallocate. */
  allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void;
  /** Hands what was collected to the kernel and delivers what is done at once. Inside of a completion it does nothing:
   * what completions submit is started after them anyway. */
  start(): void;
  /** `listener` hears of each batch of completions, whoever caused it. */
  listen(listener: BatchListener): void;
  /** Nothing may be in flight. */
  close(): void;
}

/** An engine whose thread asks for completions: they come from {@link start} and {@link reap}. Nothing is allocated for a request. */
export interface WatchedEngine extends DiskEngine {
  /**
   * Counts completions that nobody has seen yet. The thread watches it, edge-triggered (it is never read), and calls
   * {@link reap}.
   */
  readonly completions: EventFd;
  /** Delivers what is done. */
  reap(): void;
}
