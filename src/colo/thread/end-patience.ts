import type { GuestEnd } from '../../vmm/vcpu/guest-end.ts';

/**
 * What a guest said last has so long to leave when it ends, by a last checkpoint; less if it is ended, for a VMM that is told to stop stops
 * within a second.
 */
const endPatienceMs = 5000;
const stopPatienceMs = 600;
/** A standby that is told to end without that checkpoint has so long to say that it does. */
const lastWordMs = 400;

/** How long a machine keeps the end of its protected guest for the standby (spec B.13). */
export class EndPatience {
  readonly #overdue: () => void;
  readonly #finish: () => void;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param overdue the standby is to end without the last checkpoint
   * @param finish nothing is waited for any more
   */
  constructor(overdue: () => void, finish: () => void) {
    this.#overdue = overdue;
    this.#finish = finish;
  }

  begin({ kind }: GuestEnd): void {
    this.#wait(kind === 'stopped' ? stopPatienceMs : endPatienceMs, () => {
      this.#overdue();
      this.#wait(lastWordMs, this.#finish);
    });
  }

  /** The machine ends, or goes on: nobody is called any more. */
  close(): void {
    clearTimeout(this.#timer);
  }

  #wait(ms: number, over: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(over, ms);
  }
}
