/** From each state, the states that may come next. */
export type Moves<S extends string> = Readonly<Record<S, readonly S[]>>;

/** A move that the table does not have, or from a state that is not the one expected; it names both. Our mistake. */
export class IllegalMoveError extends Error {
  readonly code = 'COLO_MOVE';

  constructor(machine: string, from: string, to: string) {
    super(`${machine} cannot go from ${from} to ${to}`);
    this.name = 'IllegalMoveError';
  }
}

/** A state, and the table of what may come next. */
export class StateMachine<S extends string> {
  readonly #name: string;
  readonly #moves: Moves<S>;
  #state: S;

  constructor(name: string, moves: Moves<S>, first: S) {
    this.#name = name;
    this.#moves = moves;
    this.#state = first;
  }

  get state(): S {
    return this.#state;
  }

  /** @throws IllegalMoveError */
  move(to: S): void {
    if (!this.#moves[this.#state].includes(to)) throw new IllegalMoveError(this.#name, this.#state, to);
    this.#state = to;
  }

  /** As {@link move}, from this state only (spec A.1: compare and swap). @throws IllegalMoveError */
  swap(from: S, to: S): void {
    if (this.#state !== from) throw new IllegalMoveError(this.#name, this.#state, to);
    this.move(to);
  }
}
