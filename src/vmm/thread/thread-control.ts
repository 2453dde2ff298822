/**
 * The memory that a worker thread shares with the thread that controls it.
 *
 *     cells    request: what the controller wants, and the number of its latest question
 *              phase: what the thread does     tid: to kick it     answered: the question that it answered last
 *              held: the thread has reported something and stays parked until it is released
 *
 *     request  bits 0-1: a Request     bits 2-31: number of the question, counted up and around
 */

const requestCell = 0;
const phaseCell = 1;
const tidCell = 2;
const answeredCell = 3;
const heldCell = 4;
/** Bytes of the cells; what a kind of thread adds follows. */
export const controlCellBytes = 24;

const requestBits = 2;
const requestMask = (1 << requestBits) - 1;
const numberMask = 0x3fff_ffff;

/** What the controller wants. `serve`: the thread is parked, and is to answer a question, or to do what it does when served. */
export const request = { park: 0, run: 1, end: 2, serve: 3 } as const;
export type Request = (typeof request)[keyof typeof request];

/**
 * What the thread does. A thread that is parked or ended touches no guest state; one that is `serving` was parked, and
 * parks again when it has answered.
 */
export const phase = { starting: 0, running: 1, parked: 2, ended: 3, serving: 4 } as const;
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
    return (this.#wanted & requestMask) as Request;
  }

  /** The number of the latest question stays. */
  set request(value: Request) {
    this.#setWanted((this.#wanted & ~requestMask) | value);
    if (value === request.end) this.release();
  }

  /** Controller side: wants a question answered, which has come to the thread by some way of theirs. Its number. */
  requestAnswer(number: number): void {
    this.#setWanted((number << requestBits) | request.serve);
  }

  /** Controller side: the number of the next question. */
  get nextQuestion(): number {
    return ((this.#wanted >>> requestBits) + 1) & numberMask;
  }

  /** The question that the thread answered last. */
  get answered(): number {
    return Atomics.load(this.#cells, answeredCell);
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
   * Thread side: parks as long as the request is to park, or to answer a question.
   *
   * The phase changes before the request is looked at again, and the controller changes the request before it looks
   * at the phase: whoever comes second sees the other, so the controller never takes a thread for parked that runs or
   * answers. That a wait is over means nothing: a call to wake it may come late, and tell of a request that was seen already.
   *
   * A controller that gives up a question withdraws it, by another request. An answer that comes all the same bears its
   * number, and is not taken for one to a later question.
   *
   * @param serve answers the controller's question of that number, for threads that can be asked
   */
  park(serve?: (number: number) => void): void {
    for (;;) {
      this.phase = phase.parked;
      const wanted = this.#waitForOther(request.park);
      if ((wanted & requestMask) === request.serve) {
        this.phase = phase.serving;
        if (this.#wanted !== wanted) continue;
        const number = wanted >>> requestBits;
        serve?.(number);
        // Parked before it is answered: whoever sees the answer may let the thread run, and stop it again.
        this.phase = phase.parked;
        Atomics.store(this.#cells, answeredCell, number);
        Atomics.notify(this.#cells, answeredCell);
        while (this.#wanted === wanted) Atomics.wait(this.#cells, requestCell, wanted);
        continue;
      }
      this.phase = phase.running;
      const now = this.request;
      if (now !== request.park && now !== request.serve) return;
    }
  }

  /** Thread side: from the next {@link parkWhileHeld} on it does not run before {@link release}, whatever is requested. */
  hold(): void {
    Atomics.store(this.#cells, heldCell, 1);
  }

  /**
   * Thread side: parks until it is released, and then as long as it is to park anyway. A request to end that came before
   * {@link hold} has released nobody, so the request is looked at as well.
   */
  parkWhileHeld(serve?: (number: number) => void): void {
    this.phase = phase.parked;
    while (this.held && this.request !== request.end) Atomics.wait(this.#cells, heldCell, 1);
    this.park(serve);
  }

  /** The thread waits to be released. */
  get held(): boolean {
    return Atomics.load(this.#cells, heldCell) === 1;
  }

  /** Controller side: a thread that is held goes on once it is requested to run. A request to end does this too. */
  release(): void {
    Atomics.store(this.#cells, heldCell, 0);
    Atomics.notify(this.#cells, heldCell);
  }

  /** Controller side: blocks until the phase is no longer `value`, at most `timeoutMs`; false if it still is. */
  waitWhilePhase(value: Phase, timeoutMs: number): boolean {
    Atomics.wait(this.#cells, phaseCell, value, timeoutMs);
    return this.phase !== value;
  }

  /** Controller side: blocks until question `number` is answered, at most `timeoutMs`; false if it is not. */
  waitForAnswer(number: number, timeoutMs: number): boolean {
    const answered = this.answered;
    if (answered !== number) Atomics.wait(this.#cells, answeredCell, answered, timeoutMs);
    return this.answered === number;
  }

  get #wanted(): number {
    return Atomics.load(this.#cells, requestCell);
  }

  #setWanted(value: number): void {
    Atomics.store(this.#cells, requestCell, value);
    Atomics.notify(this.#cells, requestCell);
  }

  /** Waits while the request is `value`; the request and question number that there is then. */
  #waitForOther(value: Request): number {
    for (;;) {
      const wanted = this.#wanted;
      if ((wanted & requestMask) !== value) return wanted;
      Atomics.wait(this.#cells, requestCell, wanted);
    }
  }
}
