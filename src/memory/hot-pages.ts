import { bitsOf } from './dirty-bitmap.ts';

/** Most pages of a region that are left writable: all of them are copied at every look, written or not. */
export const mostHotPages = 512;

/**
 * Which pages of one region are left writable by whoever looks for dirty pages many times a second. A guest that answers requests
 * writes to the same pages for each, and each first write to a page that was write-protected is an exit: more of them than all
 * others together. A page that was dirty at two looks in a row is hot: its mark stays in KVM's log, so that it counts as
 * written at every look, and KVM is not told to protect it again. Every 32nd look it is protected all the same, and is hot again
 * only if it is dirty at the next one.
 */
export class HotPages {
  /** Pages whose marks stay in KVM's log: bit b of word w is page 32 * w + b. */
  readonly #hot: Int32Array;
  /** Pages that were protected at the look {@link #takenAt}. */
  readonly #taken: Int32Array;
  readonly #takenAt: Int32Array;
  #looks = 0;
  #count = 0;

  constructor(pages: number) {
    const words = 2 * Math.ceil(pages / 64);
    this.#hot = new Int32Array(words);
    this.#taken = new Int32Array(words);
    this.#takenAt = new Int32Array(words);
  }

  /** Pages that are left writable. */
  get count(): number {
    return this.#count;
  }

  /** A look begins. */
  look(): void {
    this.#looks = (this.#looks + 1) | 0;
  }

  /** Which of the marks that this word of the log has are to be taken there, and their pages protected. Hot path. */
  toProtect(word: number, marks: number): number {
    const before = this.#hot[word] as number;
    const looked = 1 << (this.#looks & 31);
    const stays = before & marks & ~looked;
    const others = marks & ~stays;
    const again = this.#takenAt[word] === ((this.#looks - 1) | 0) ? others & (this.#taken[word] as number) : 0;
    let count = this.#count - bitsOf(before & ~stays);
    const added = count + bitsOf(again) <= mostHotPages ? again : 0;
    count += bitsOf(added);
    this.#count = count;
    this.#hot[word] = stays | added;
    this.#taken[word] = others & ~added;
    this.#takenAt[word] = this.#looks;
    return others & ~added;
  }

  /** All are protected again. */
  forget(): void {
    if (this.#count === 0) return;
    this.#hot.fill(0);
    this.#count = 0;
  }
}
