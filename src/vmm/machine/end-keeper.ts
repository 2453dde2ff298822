import type { GuestEnd } from '../vcpu/guest-end.ts';

/**
 * Keeps the end of a guest for somebody who has something to do before the machine ends (spec B.13: the standby is to have the
 * last of it, and what the guest said last is to leave).
 *
 *     nobody --set--> waiting --keep--> kept --take--> nobody, and the machine ends
 */
export class EndKeeper {
  readonly #hold: () => void;
  #keeper: ((end: GuestEnd) => void) | undefined;
  #kept: GuestEnd | undefined;

  /** @param hold stops the machine as its guest left it; throws if that fails, and then the end is not kept */
  constructor(hold: () => void) {
    this.#hold = hold;
  }

  /** Who is told from now on; undefined: nobody. An end that is kept already stays kept. */
  set keeper(keeper: ((end: GuestEnd) => void) | undefined) {
    this.#keeper = keeper;
  }

  /**
   * Whether the machine goes on existing: its guest has ended, and the keeper has been told. What ends the VMM and not the guest,
   * a signal, a hang-up or a failure of ours, is not kept.
   *
   * @throws whatever stopping the machine throws
   */
  keep(end: GuestEnd): boolean {
    const keeper = this.#keeper;
    if (keeper === undefined || end.kind === 'vmm-failure') return false;
    if (end.kind === 'stopped' && end.vmmOnly === true) return false;
    if (this.#kept !== undefined) return true;
    this.#hold();
    this.#kept = end;
    keeper(end);
    return true;
  }

  /** The end that was kept, if any. */
  get kept(): GuestEnd | undefined {
    return this.#kept;
  }

  /** The end that was kept is none any more: its guest was made another one. Whoever keeps ends goes on to. */
  forget(): void {
    this.#kept = undefined;
  }

  /** The end that was kept, if any, which from now on nobody keeps. */
  take(): GuestEnd | undefined {
    this.#keeper = undefined;
    return this.#kept;
  }
}
