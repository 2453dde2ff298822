/** A change of part of a disk, from when it is asked for until it is done. */
export interface Change {
  /** The bytes that it writes, [first, end). */
  readonly first: number;
  readonly end: number;
  /** It also writes back what it read of these bytes before: no other change of them may come in between. */
  readonly merges: boolean;
  /** Held back; {@link go} is called when it may begin. */
  waits: boolean;
  go(): void;
}

/**
 * The changes of one disk that are under way, in the order in which they were asked for. One that merges and one that
 * overlaps it come one after the other; all others go as they come, for what they write at the same time their driver
 * takes in any order. Bounded by the requests of the layers above.
 */
export class ChangeOrder {
  readonly #changes: Change[] = [];
  #waiting = 0;

  /** True if `change` may begin at once; else it is told. */
  begin(change: Change): boolean {
    change.waits = this.#mustWait(change, this.#changes.length);
    if (change.waits) this.#waiting++;
    this.#changes.push(change);
    return !change.waits;
  }

  /** `change` is done: lets go who waited for it alone. */
  end(change: Change): void {
    const changes = this.#changes;
    const at = changes.indexOf(change);
    changes.splice(at, 1);
    for (let index = at; index < changes.length && this.#waiting > 0; index++) {
      const next = changes[index] as Change;
      if (!next.waits || this.#mustWait(next, index)) continue;
      next.waits = false;
      this.#waiting--;
      next.go();
      // Once more from there: it may be done already.
      index = at - 1;
    }
  }

  #mustWait(change: Change, before: number): boolean {
    for (let index = 0; index < before; index++) {
      const other = this.#changes[index] as Change;
      const overlap = other.first < change.end && change.first < other.end;
      if (overlap && (other.merges || change.merges)) return true;
    }
    return false;
  }
}
