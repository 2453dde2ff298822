/**
 * The memory that a worker thread shares with the thread that controls it.
 *
 *     cells    request: what the controller wants     phase: what the thread does     tid: to kick it
 */

const requestCell = 0;
const phaseCell = 1;
const tidCell = 2;
/** Bytes of the cells; what a kind of thread adds follows. */
export const controlCellBytes = 16;

/** What the controller wants. `serve`: the thread is parked, and is to answer one question. */
export const request = { park: 0, run: 1, end: 2, serve: 3 } as const;
export type Request = (typeof request)[keyof typeof request];

/**
 * What the thread does. A thread that is parked or ended touches no guest state. `served`: it has answered, and goes back
 * to where it is parked once the controller has taken the answer.
 */
export const phase = { starting: 0, running: 1, parked: 2, ended: 3, served: 4 } as const;
export type Phase = (typeof phase)[keyof typeof phase];

/** Both sides' view of the shared cells. */
export class ThreadControl {
  readonly storage: SharedArrayBuffer;
  readonly #cells: Int32Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(controlCellBytes)) {
    this.storage = storage;
    this.#cells = new Int32Array(storage, 0, controlCellBytes / 4);
  }

  get request(): Request {
    return Atomics.load(this.#cells, requestCell) as Request;
  }

  set request(value: Request) {
    Atomics.store(this.#cells, requestCell, value);
    Atomics.notify(this.#cells, requestCell);
  }

  get phase(): Phase {
    return Atomics.load(this.#cells, phaseCell) as Phase;
  }

  set phase(value: Phase) {
    Atomics.store(this.#cells, phaseCell, value);
    Atomics.notify(this.#cells, phaseCell);
  }

  /** Kernel id of the thread; 0 until it runs. */
  get tid(): number {
    return Atomics.load(this.#cells, tidCell);
  }

  set tid(value: number) {
    Atomics.store(this.#cells, tidCell, value);
  }

  /**
   * Thread side: stands still as long as the request is to park, or to answer a question.
   *
   * The phase changes before the request is looked at again, and the controller changes the request before it looks
   * at the phase: whoever comes second sees the other, so the controller never takes a thread for parked that goes on.
   * That a wait is over means nothing: a call to wake it may come late, and tell of a request that was seen already.
   *
   * @param serve answers a question of the controller's, for threads that can be asked
   */
  park(serve?: () => void): void {
    for (;;) {
      this.phase = phase.parked;
      this.#waitWhile(request.park);
      const asked = this.request;
      if (asked === request.serve) {
        serve?.();
        this.phase = phase.served;
        this.#waitWhile(request.serve);
        continue;
      }
      this.phase = phase.running;
      const now = this.request;
      if (now !== request.park && now !== request.serve) return;
    }
  }

  /** Thread side: stands still until it is to end. */
  parkForEver(): void {
    this.phase = phase.parked;
    for (let now = this.request; now !== request.end; now = this.request) Atomics.wait(this.#cells, requestCell, now);
  }

  #waitWhile(value: Request): void {
    while (this.request === value) Atomics.wait(this.#cells, requestCell, value);
  }

  /** Controller side: blocks until the phase is no longer `value`, at most `timeoutMs`; false if it still is. */
  waitWhilePhase(value: Phase, timeoutMs: number): boolean {
    Atomics.wait(this.#cells, phaseCell, value, timeoutMs);
    return this.phase !== value;
  }
}
