import { EventFd } from '../../host/events/eventfd.ts';
import { Vcpu } from '../../host/kvm/vcpu.ts';
import { kick } from '../../host/threads/kick.ts';
import { IoControl, type SharedIoControl } from '../../vmm/platform/io-control.ts';
import { phase } from '../../vmm/thread/thread-control.ts';
import { type SharedVcpu, VcpuControl } from '../../vmm/vcpu/vcpu-control.ts';

/** A thread that is looked at. */
export interface WatchedThread {
  /** It has turned since this was asked last. */
  turned(): boolean;
  /** Has it turn if it sleeps. */
  nudge(): void;
  /** The thread of that name waits for this one, for a bounded time, and need not turn meanwhile. */
  keepsWaiting?(name: string): boolean;
}

/**
 * Whether the threads of this VMM turn (spec B.5): a heartbeat vouches for all of them, so each counts its turns, and the colo
 * thread compares that with what it was at the heartbeat before.
 */
export class SignsOfLife {
  readonly #watched = new Map<string, WatchedThread>();
  #still: string[] = [];

  /** Watches a thread from now on; of a name at most one. */
  watch(name: string, thread: WatchedThread): void {
    this.#watched.set(name, thread);
    thread.nudge();
  }

  forget(name: string): void {
    this.#watched.delete(name);
  }

  /** All have turned since this was asked last. */
  turned(): boolean {
    this.#still = [];
    for (const [name, thread] of this.#watched) {
      if (!thread.turned()) this.#still.push(name);
      thread.nudge();
    }
    if (this.#still.length > 0) {
      const others = [...this.#watched.values()];
      this.#still = this.#still.filter((name) => !others.some((other) => other.keepsWaiting?.(name) === true));
    }
    return this.#still.length === 0;
  }

  /** Those that had not turned when that was asked last. */
  get still(): readonly string[] {
    return this.#still;
  }
}

/** A thread with an event loop of Node's, which counts its turns in a cell by itself: see TurnCounter. */
export class CountingThread implements WatchedThread {
  readonly #cell: Int32Array<SharedArrayBuffer>;
  #last: number;

  constructor(turns: SharedArrayBuffer) {
    this.#cell = new Int32Array(turns, 0, 1);
    this.#last = Atomics.load(this.#cell, 0) - 1;
  }

  turned(): boolean {
    const now = Atomics.load(this.#cell, 0);
    const turned = now !== this.#last;
    this.#last = now;
    return turned;
  }

  nudge(): void {}
}

/**
 * The io thread of a machine. While it is parked somebody has it in hand, and it need not turn. While a user pauses the machine
 * the main thread waits until it has written and flushed what is in flight, and while its guest resets a device a vCPU does until
 * reads are finished: that takes as long as disks do, and is no failure.
 */
export class IoThreadSigns implements WatchedThread {
  readonly #control: IoControl;
  readonly #wake: EventFd;
  #last: number;

  constructor({ control, wake }: SharedIoControl) {
    this.#control = new IoControl(control);
    this.#wake = new EventFd(wake);
    this.#last = this.#control.turns - 1;
  }

  turned(): boolean {
    const now = this.#control.turns;
    const turned = now !== this.#last;
    this.#last = now;
    const does = this.#control.phase;
    return does !== phase.ended && (turned || does !== phase.running);
  }

  keepsWaiting(name: string): boolean {
    return name === 'main' ? this.#control.settles : name.startsWith('vcpu-') && this.#control.waiters > 0;
  }

  nudge(): void {
    this.#wake.signal();
  }
}

/**
 * A vCPU's thread: it turns whenever it comes out of the guest. One that did not by itself, for its guest computes or sleeps, is
 * called out; one that does not come then is stuck, whatever its guest does. While it is parked somebody has it in hand.
 */
export class VcpuSigns implements WatchedThread {
  readonly #control: VcpuControl;
  readonly #vcpu: Pick<Vcpu, 'requestExit'>;
  readonly #call: (tid: number) => void;
  #last = -1;
  /** It was called out of the guest when it was looked at last. */
  #called = false;

  /** @param parts what calls it out of the guest; default the kernel */
  constructor(
    { handle, control }: SharedVcpu,
    { vcpu = new Vcpu(handle), call = kick }: { vcpu?: Pick<Vcpu, 'requestExit'>; call?: (tid: number) => void } = {},
  ) {
    this.#control = new VcpuControl(control);
    this.#vcpu = vcpu;
    this.#call = call;
  }

  turned(): boolean {
    return !this.#called || this.#control.turns !== this.#last || this.#control.phase !== phase.running;
  }

  /** Calls only one without an exit since the last time: a busy one has thousands by itself. It is asked for the next look. */
  nudge(): void {
    const { turns, tid } = this.#control;
    this.#called = turns === this.#last && tid !== 0 && this.#control.phase === phase.running;
    this.#last = turns;
    if (!this.#called) return;
    this.#vcpu.requestExit();
    this.#call(tid);
  }
}

/** Counts the turns of the thread that it is made on. */
export class TurnCounter {
  readonly storage = new SharedArrayBuffer(4);
  readonly #timer: NodeJS.Timeout;

  /** @param periodMs well below a heartbeat's */
  constructor(periodMs: number) {
    const cell = new Int32Array(this.storage);
    this.#timer = setInterval(() => Atomics.add(cell, 0, 1), periodMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
