/** More than what is lost in a clock's arithmetic, far less than anything takes, ms. */
const roundingMs = 1e-6;

/** A side's clock: what it shows as a function of virtual time. */
export class Clock {
  #rate: number;
  #base: number;
  #since = 0;

  constructor(rate: number, offset: number) {
    this.#rate = rate;
    this.#base = offset;
  }

  /** What it shows at this time, ms. */
  at(time: number): number {
    return this.#base + (time - this.#since) * this.#rate;
  }

  /** The time at which it will show this, if nothing is done to it. */
  when(shows: number): number {
    const time = this.#since + (shows - this.#base) / this.#rate;
    // Rounded down, an alarm would ring before its time, be set again, and ring at the same moment, for ever.
    return this.at(time) < shows ? time + roundingMs : time;
  }

  jump(by: number): void {
    this.#base += by;
  }

  setRate(time: number, rate: number): void {
    this.#base = this.at(time);
    this.#since = time;
    this.#rate = rate;
  }
}
