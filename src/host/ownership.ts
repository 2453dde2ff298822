/** Something that must be given back. Closing twice is harmless. */
export interface Closable {
  close(): void;
}

/**
 * Owns what was opened, and gives it back in reverse order. A constructor that may fail half-way opens everything
 * through one of these and closes it in its `catch`.
 */
export class Owner implements Closable {
  #owned: Closable[] = [];

  own<T extends Closable>(closable: T): T {
    this.#owned.push(closable);
    return closable;
  }

  /** Owns a clean-up that has no object of its own. */
  defer(close: () => void): void {
    this.#owned.push({ close });
  }

  /** Closes all; the first error is thrown once everything else is closed too. */
  close(): void {
    const errors: unknown[] = [];
    for (let next = this.#owned.pop(); next !== undefined; next = this.#owned.pop()) {
      try {
        next.close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}
