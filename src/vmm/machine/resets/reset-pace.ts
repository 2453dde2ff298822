/** So many resets of a guest within {@link periodMs} are one loop, and no reboots. */
const resetsOfLoop = 5;
const periodMs = 60_000;

/** Tells a guest that resets again and again from one that reboots. */
export class ResetPace {
  readonly #recent: number[] = [];
  #told = false;

  /** The guest resets, at `nowMs` on any clock that goes on. True once: it is in a loop. */
  isLoop(nowMs: number): boolean {
    this.#recent.push(nowMs);
    if (this.#recent.length > resetsOfLoop) this.#recent.shift();
    const first = this.#recent[0] ?? nowMs;
    if (this.#told || this.#recent.length < resetsOfLoop || nowMs - first > periodMs) return false;
    this.#told = true;
    return true;
  }
}
