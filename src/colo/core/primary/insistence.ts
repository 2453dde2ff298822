/**
 * Whether a primary without a standby looks for one by itself (spec B.7): one that was started for a pair does, and one that has been
 * protected, until an operator ends protection on either side. It does again when somebody wants it protected again.
 */
export class Insistence {
  #isMeant: boolean;
  #isEnded = false;

  /** @param fromTheStart before it was ever protected; else a first attempt that fails is the only one */
  constructor(fromTheStart: boolean) {
    this.#isMeant = fromTheStart;
  }

  get isOn(): boolean {
    return this.#isMeant && !this.#isEnded;
  }

  /** It is protected. */
  succeeded(): void {
    this.#isMeant = true;
  }

  /** Somebody wants it protected. */
  begun(): void {
    this.#isEnded = false;
  }

  /** An operator ended it, or the guest is not this side's any more. */
  ended(): void {
    this.#isEnded = true;
  }
}
