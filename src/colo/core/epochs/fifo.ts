/** Below so many places that are free at the front, they stay. */
const fewPlaces = 64;

/** First in, first out, however many there are: Array.shift moves all that is behind in a long one. */
export class Fifo<T> {
  readonly #items: (T | undefined)[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  /** The oldest. */
  get first(): T | undefined {
    return this.#items[this.#first];
  }

  /** The newest. */
  get last(): T | undefined {
    return this.length === 0 ? undefined : this.#items.at(-1);
  }

  /** The one behind so many older ones. */
  at(index: number): T | undefined {
    return index < 0 ? undefined : this.#items[this.#first + index];
  }

  /** Puts another one in the place behind so many older ones, which there is. */
  replace(index: number, item: T): void {
    this.#items[this.#first + index] = item;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Takes the oldest. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first++] = undefined;
    if (this.#first >= fewPlaces && this.#first * 2 >= this.#items.length) {
      this.#items.splice(0, this.#first);
      this.#first = 0;
    }
    return item;
  }

  /** Takes the newest back. */
  pop(): T | undefined {
    return this.length === 0 ? undefined : this.#items.pop();
  }

  clear(): void {
    this.#items.length = 0;
    this.#first = 0;
  }

  /** All of them, oldest first. */
  toArray(): T[] {
    return this.#items.slice(this.#first) as T[];
  }
}
