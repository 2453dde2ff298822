import type { Mode } from '../../protocol/numbers.ts';
import type { Settings } from '../settings.ts';

/** So many checkpoints for divergence in a row say something about the guest; fewer are chance. */
const enough = 4;
/** The longest time in buffered mode is so many times the least. */
const longestTimes = 64;

/**
 * Which mode the next epoch is in (spec B.8). While both guests run, what it costs that they do not agree is the time for which
 * P's output waits: until a divergence is found, and from there until it is free again. Where that is more than a set share of the last {@link enough} rounds, output waits for
 * each checkpoint instead. Whether guests agree can only be seen while both run: so after a while comparing is tried again, and each
 * time that is in vain the while is twice as long, up to a bound; once it has gone well for as long as that, it is short again.
 */
export class ModeSwitch {
  readonly #settings: Settings;
  #mode: Mode;
  /** When the mode began, and when it was not wanted. */
  #since = 0;
  #waitMs: number;
  /** Of the last checkpoints for divergence: when each epoch began, and how long output then waited. */
  readonly #rounds: { readonly begunAt: number; readonly costMs: number }[] = [];
  #why = 'both guests run, and their answers are compared';

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#waitMs = settings.buffersForMs;
    this.#mode = settings.compares ? 'comparing' : 'buffered';
    if (!settings.compares) this.#why = 'the guest of the standby does not run';
  }

  /** Of the next epoch. */
  get mode(): Mode {
    return this.#mode;
  }

  /** A sentence for an operator. */
  get why(): string {
    return this.#why;
  }

  /** A pair is made at this time. */
  begin(now: number): void {
    this.#since = now;
    this.#rounds.length = 0;
  }

  /**
   * An epoch that was compared has ended, and its output is free.
   *
   * @param diverged it was ended because the guests did not agree
   * @param begunAt when it began; `costMs` how long output waited for its end, from the divergence on
   */
  compared(diverged: boolean, begunAt: number, costMs: number, now: number): void {
    if (this.#mode !== 'comparing') return;
    if (!diverged) {
      this.#rounds.length = 0;
      return;
    }
    this.#rounds.push({ begunAt, costMs });
    if (this.#rounds.length > enough) this.#rounds.shift();
    const first = this.#rounds[0];
    if (this.#rounds.length < enough || first === undefined) return;
    const spent = this.#rounds.reduce((sum, round) => sum + round.costMs, 0);
    const passed = Math.max(now - first.begunAt, spent);
    if (passed === 0 || spent / passed <= this.#settings.divergenceShare) return;
    const wentWell = this.#rounds.length > 0 && now - this.#since > this.#waitMs * 2;
    const { buffersForMs } = this.#settings;
    this.#waitMs = wentWell ? buffersForMs : Math.min(this.#waitMs * 2, buffersForMs * longestTimes);
    const share = Math.round((spent / passed) * 100);
    this.#change('buffered', `the two guests did not agree: ${share} % of the time went into making them equal`, now);
  }

  /** A checkpoint is about to be made: the mode of the epoch that follows it. */
  next(now: number): Mode {
    if (!this.#settings.compares) return 'buffered';
    // A clock that went back puts nothing off.
    this.#since = Math.min(this.#since, now);
    if (this.#mode === 'buffered' && now - this.#since >= this.#waitMs) {
      this.#change('comparing', `tried again after ${Math.round(this.#waitMs / 1000)} s`, now);
    }
    return this.#mode;
  }

  #change(mode: Mode, why: string, now: number): void {
    this.#mode = mode;
    this.#why = why;
    this.#since = now;
    this.#rounds.length = 0;
  }
}
