/**
 * Run state of a machine.
 *
 *     created --> running <--> paused
 *        |           ^           |
 *        |           v           |
 *        +-------> colo <--------+        and from each of them to ended
 *
 * `colo`: stopped and in the hands of fault tolerance, which loads checkpoints into it and alone resumes it.
 */
export type RunState = 'created' | 'running' | 'paused' | 'colo' | 'ended';

const legalMoves: Readonly<Record<RunState, readonly RunState[]>> = {
  created: ['running', 'paused', 'colo', 'ended'],
  running: ['paused', 'colo', 'ended'],
  paused: ['running', 'colo', 'ended'],
  colo: ['running', 'ended'],
  ended: [],
};

/** A move that the table does not allow; the message names both states. */
export class RunStateError extends Error {
  readonly code = 'RUN_STATE';

  constructor(from: RunState, to: RunState) {
    super(`a machine that is ${from} cannot become ${to}`);
    this.name = 'RunStateError';
  }
}

/** Holds a machine's run state and refuses illegal moves. */
export class RunStateMachine {
  #state: RunState = 'created';

  get state(): RunState {
    return this.#state;
  }

  /** @throws RunStateError */
  moveTo(next: RunState): void {
    if (!legalMoves[this.#state].includes(next)) throw new RunStateError(this.#state, next);
    this.#state = next;
  }
}
