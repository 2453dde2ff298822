import type { TransportPort } from '../../devices/virtio/mmio-registers.ts';
import { cell, type MmioState } from '../../devices/virtio/mmio-state.ts';
import { EventFd } from '../../host/events/eventfd.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { Handshake } from '../../host/threads/handshake.ts';
import { controlCellBytes, phase, ThreadControl } from '../thread/thread-control.ts';

/** How long disks may take to finish reads that they have begun, and with them a vCPU whose guest resets one. */
export const ioPatienceMs = 10_000;
/** How long they may take to finish what may stay in flight, when a user pauses the machine. Less, for the answer has to come. */
export const settlePatienceMs = ioPatienceMs - 1000;

/** How long a reset waits for disks to finish what is in flight. What takes longer is given up, and the guest's memory moved. */
export const resetPatienceMs = 300;

/** What the io thread shares with its controller: the cells of every thread, and whether reads are waited for to park. */
export class IoControl extends ThreadControl {
  readonly #givesUp: Int32Array<SharedArrayBuffer>;
  readonly #turns: Int32Array<SharedArrayBuffer>;
  readonly #settles: Int32Array<SharedArrayBuffer>;
  readonly #waiters: Int32Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(controlCellBytes + 16)) {
    super(storage);
    this.#givesUp = new Int32Array(storage, controlCellBytes, 1);
    this.#turns = new Int32Array(storage, controlCellBytes + 4, 1);
    this.#settles = new Int32Array(storage, controlCellBytes + 8, 1);
    this.#waiters = new Int32Array(storage, controlCellBytes + 12, 1);
  }

  /** Its controller waits for disks to settle, {@link settlePatienceMs} at most, and does not turn; nothing of the guest runs. */
  get settles(): boolean {
    return Atomics.load(this.#settles, 0) === 1;
  }

  set settles(value: boolean) {
    Atomics.store(this.#settles, 0, value ? 1 : 0);
  }

  /** vCPU threads that wait for this one, until disks have finished: {@link ioPatienceMs} at most. */
  get waiters(): number {
    return Atomics.load(this.#waiters, 0);
  }

  /** vCPU side: has `wait` done as one of those. */
  keepWaiting(wait: () => void): void {
    Atomics.add(this.#waiters, 0, 1);
    try {
      wait();
    } finally {
      Atomics.sub(this.#waiters, 0, 1);
    }
  }

  /** How often the thread has been woken by a call, as a number that only grows, modulo 2^32. */
  get turns(): number {
    return Atomics.load(this.#turns, 0);
  }

  /** Thread side. */
  turned(): void {
    Atomics.add(this.#turns, 0, 1);
  }

  get givesUp(): boolean {
    return Atomics.load(this.#givesUp, 0) === 1;
  }

  set givesUp(value: boolean) {
    Atomics.store(this.#givesUp, 0, value ? 1 : 0);
  }
}

/** What reaches the io thread from other threads: its control cells, and the eventfd that it waits on. */
export interface SharedIoControl {
  readonly control: SharedArrayBuffer;
  readonly wake: Fd;
}

/** The io thread as a vCPU thread that serves a device's registers sees it. */
export class IoThreadPort implements TransportPort {
  readonly #control: IoControl;
  readonly #wake: EventFd;
  readonly #kicks: readonly EventFd[];
  readonly #handshake: Handshake;

  constructor(io: SharedIoControl, state: MmioState, kicks: readonly Fd[]) {
    this.#control = new IoControl(io.control);
    this.#wake = new EventFd(io.wake);
    this.#kicks = kicks.map((fd) => new EventFd(fd));
    this.#handshake = new Handshake(state.cells, cell.asked, cell.answered);
  }

  /** Waits for the io thread, unless that has ended: then the machine is ending too. */
  synchronize(): void {
    const question = this.#handshake.ask();
    this.#wake.signal();
    this.#control.keepWaiting(() => this.#handshake.wait(question, () => this.#control.phase === phase.ended));
  }

  notify(index: number): void {
    this.#kicks[index]?.signal();
  }
}
