/** Median and worst of what happened within the last minute or so. */
export class RecentFigures {
  readonly #windowMs: number;
  readonly #most: number;
  readonly #at: number[] = [];
  readonly #values: number[] = [];

  /** @param most figures kept, whatever the window */
  constructor(windowMs = 60_000, most = 4096) {
    this.#windowMs = windowMs;
    this.#most = most;
  }

  add(value: number, now: number): void {
    this.#at.push(now);
    this.#values.push(value);
    while (this.#at.length > this.#most || (this.#at[0] ?? now) < now - this.#windowMs) {
      this.#at.shift();
      this.#values.shift();
    }
  }

  /** Undefined if there is none within the window. */
  summary(now: number): { readonly count: number; readonly median: number; readonly worst: number } | undefined {
    const first = this.#at.findIndex((at) => at >= now - this.#windowMs);
    if (first < 0) return undefined;
    const sorted = this.#values.slice(first).sort((one, other) => one - other);
    return {
      count: sorted.length,
      median: sorted[Math.floor(sorted.length / 2)] as number,
      worst: sorted.at(-1) as number,
    };
  }
}
