/** Asks so often: at first soon, then less often. */
const firstWaitMs = 500;
const longestWaitMs = 5000;
const growth = 1.5;

/** Who is with a standby: nobody, somebody who has connected and said nothing yet, or somebody to stand by for. */
export type Company = 'nobody' | 'stranger' | 'primary';

/**
 * When a standby that protects nobody asks other hosts for a survivor, what it does with the answer, and of what it tells (spec B.7).
 * It asks for as long as it stands by: who runs there alone may begin to at any time.
 *
 * Without I/O.
 */
export class SearchPace {
  #waitMs = firstWaitMs;
  /** By place, why the last attempt was in vain. */
  readonly #problems = new Map<string, string>();

  /** So long until it is looked again, ms. */
  get waitMs(): number {
    return this.#waitMs;
  }

  /**
   * It is looked whether to ask. Where somebody is protected, or about to be, nobody is looked for; once that is over, a survivor is
   * likely, and looked for soon.
   *
   * @param isFree nobody is
   */
  asks(isFree: boolean): boolean {
    this.#waitMs = isFree ? Math.min(this.#waitMs * growth, longestWaitMs) : firstWaitMs;
    return isFree;
  }

  /**
   * Somebody answers there. @returns whether he is wanted: meanwhile another one may have come. One that has said nothing may be the same
   * one, whose call this one has crossed: it took this one then, and has nothing to say to the other.
   */
  answered(place: string, here: Company): boolean {
    this.#problems.delete(place);
    return here !== 'primary';
  }

  /** Nobody could be asked there. @returns whether that is news */
  failed(place: string, reason: string): boolean {
    const isNews = reason !== this.#problems.get(place);
    this.#problems.set(place, reason);
    return isNews;
  }
}
