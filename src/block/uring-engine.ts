import { EventFd } from '../host/events/eventfd.ts';
import { IoUring } from '../host/files/io-uring.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import { Owner } from '../host/ownership.ts';
import type { BatchListener, Completion, WatchedEngine } from './disk-engine.ts';
import { DoneQueue } from './done-queue.ts';

/** Submissions that one system call takes; more are submitted in several. */
const ringEntries = 256;

/**
 * Disk calls through io_uring: reads from the page cache finish within the one system call that starts a batch, whatever
 * would wait does so in the kernel's own threads.
 */
export class UringEngine implements WatchedEngine {
  readonly completions: EventFd;
  inFlight = 0;
  readonly #owner = new Owner();
  readonly #ring: IoUring;
  readonly #listeners: BatchListener[] = [];
  /** By token. The tokens in use are bounded by the requests that the layers above have. */
  readonly #waiting: (Completion | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #done = new DoneQueue();
  #working = false;

  /** @throws IoUringUnavailableError */
  constructor(entries = ringEntries) {
    try {
      this.completions = this.#owner.own(new EventFd());
      this.#ring = this.#owner.own(new IoUring(entries));
      this.#ring.signal(this.completions.fd);
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  read(fd: Fd, data: IoVector, completion: Completion): void {
    this.#makeRoom();
    this.#ring.prepareRead(fd, data, this.#tokenFor(completion));
  }

  write(fd: Fd, data: IoVector, completion: Completion): void {
    this.#makeRoom();
    this.#ring.prepareWrite(fd, data, this.#tokenFor(completion));
  }

  sync(fd: Fd, completion: Completion): void {
    this.#makeRoom();
    this.#ring.prepareSync(fd, this.#tokenFor(completion));
  }

  allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    this.#makeRoom();
    this.#ring.prepareAllocate(fd, mode, offset, length, this.#tokenFor(completion));
  }

  /** A call that was made elsewhere, at once: its completion comes with the others. */
  finishLater(completion: Completion, result: number): void {
    this.inFlight++;
    this.#done.add(completion, result);
  }

  start(): void {
    if (this.#ring.prepared > 0 || !this.#done.empty) this.#work();
  }

  reap(): void {
    this.#work();
  }

  listen(listener: BatchListener): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.#owner.close();
  }

  /** Submits and delivers until there is nothing more of either. Hot path. */
  #work(): void {
    if (this.#working) return;
    this.#working = true;
    const ring = this.#ring;
    ring.quiet();
    let delivered = 0;
    do {
      do {
        if (ring.prepared > 0 && !ring.submit()) this.#waitForRoom();
        while (!this.#done.empty) {
          this.inFlight--;
          this.#done.deliver();
          delivered++;
        }
        while (ring.next()) {
          this.#deliver(ring.token, ring.result);
          delivered++;
        }
      } while (ring.prepared > 0 || !this.#done.empty);
      // With nothing in flight nothing needs counting.
    } while (this.inFlight > 0 && ring.listen());
    this.#working = false;
    if (delivered > 0) for (const listener of this.#listeners) listener.batchFinished();
  }

  #deliver(token: number, result: number): void {
    const completion = this.#waiting[token];
    if (completion === undefined) throw new Error(`io_uring gave a token that is not in use: ${token}`);
    this.#waiting[token] = undefined;
    this.#free.push(token);
    this.inFlight--;
    completion.finished(result);
  }

  #makeRoom(): void {
    // Only to the kernel: completions must not come from within a call that submits.
    if (this.#ring.full) while (!this.#ring.submit()) this.#waitForRoom();
  }

  /** The kernel is short of memory: until something is finished, or, with nothing in its hands, another try. */
  #waitForRoom(): void {
    if (this.inFlight > this.#ring.prepared) this.#ring.wait();
  }

  #tokenFor(completion: Completion): number {
    const token = this.#free.length > 0 ? (this.#free.pop() as number) : this.#waiting.length;
    this.#waiting[token] = completion;
    this.inFlight++;
    return token;
  }
}
