import type { Recovery } from '../../core/fencing/recovery.ts';

/** A standby that was given up waits until its host is well, and then stands by again: its primary runs on alone (spec B.7). */
export class StandingByAgain {
  readonly #recovery: Recovery;
  readonly #now: () => number;
  #watch: NodeJS.Timeout | undefined;

  constructor(recovery: Recovery, now: () => number) {
    this.#recovery = recovery;
    this.#now = now;
  }

  /** How long it waits at least, s. */
  get seconds(): number {
    return Math.ceil(this.#recovery.left(this.#now()) / 1000);
  }

  /** A primary counts on it. */
  protects(): void {
    this.#recovery.protects(this.#now());
  }

  /**
   * It was given up.
   *
   * @param everyMs how often it is looked whether the host is well
   * @param again it is
   * @returns what is to be said of it
   */
  wait(everyMs: number, again: () => void): string {
    const recovery = this.#recovery;
    recovery.givenUp(this.#now());
    this.#watch = setInterval(() => {
      recovery.turned(this.#now());
      if (recovery.left(this.#now()) > 0) return;
      this.close();
      again();
    }, everyMs);
    const { losses } = recovery;
    const often = losses === 1 ? '' : `, having been given up ${losses} times in a short time`;
    return `it stands by again once its threads have turned in time, ${this.seconds} s or more from now${often}`;
  }

  close(): void {
    clearInterval(this.#watch);
  }
}
