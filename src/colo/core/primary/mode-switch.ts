import type { Mode } from '../../protocol/numbers.ts';
import type { Settings } from '../settings.ts';
import { OutputWaits } from './output-waits.ts';

/** So many checkpoints for divergence in a row say something about the guest; fewer are chance. */
const enough = 4;
/** And so many when comparing is tried again: the guest is known to disagree, and chance costs no more than what went before. */
const enoughWhenTried = 2;
/** The longest time in buffered mode is so many times the least. */
const longestTimes = 64;
/** Comparing is given up where output waits so many times as long as it would for checkpoints: where both are the same, it stays. */
const worse = 1.25;
/** Output of buffered mode waits for the rest of one checkpoint and for the next: so many of their times, until it was measured. */
const checkpointsWaited = 1.5;
/** What was measured in buffered mode so long ago, in times of the least that this mode lasts, may not be so any more. */
const measuredHoldsTimes = 12;

/**
 * Which mode the next epoch is in (spec B.8). While both guests run, what it costs that they do not agree is the time for which
 * P's output waits: until a divergence is found, and from there until it is free again. Two rules give comparing up, and output waits
 * for each checkpoint instead:
 *
 * - cost: that is more than a set share of the time of the last {@link enough} rounds, each ended by a divergence
 *   ({@link enoughWhenTried} when comparing is tried again);
 * - rate: output waits longer than it does, or would, for checkpoints, whatever it waits for: a standby whose guest is slow agrees
 *   with everything, and late.
 *
 * What output would wait for checkpoints is what it did the last time, or follows from how long checkpoints take; if it then waits
 * longer than it had waited while both ran, that was wrong, and both run again. Otherwise whether guests agree can only be seen while
 * both run: so after a while comparing is tried again, and each time that is in vain the while is twice as long, up to a bound; once it
 * has gone well for as long as that, it is short again.
 */
export class ModeSwitch {
  readonly #settings: Settings;
  #mode: Mode;
  /** When the mode began, and when it was not wanted. */
  #since = 0;
  #waitMs: number;
  /** Of the last checkpoints for divergence: when each epoch began, and how long output then waited. */
  readonly #rounds: { readonly begunAt: number; readonly costMs: number }[] = [];
  readonly #waits = new OutputWaits();
  /** When output of buffered mode was last seen to leave. */
  #measuredAt = Number.NEGATIVE_INFINITY;
  /** How long a checkpoint takes, from its order until its output is free, ms. */
  #checkpointMs: number | undefined;
  /** What output waited when comparing was given up for that, ms. */
  #wasWaitingMs: number | undefined;
  /** Comparing was tried again, and no epoch has gone well since. */
  #isTrial = false;
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
    this.#waits.forget('comparing');
    this.#waits.forget('buffered');
    this.#checkpointMs = undefined;
    this.#wasWaitingMs = undefined;
    this.#isTrial = false;
  }

  /** Comparing is wanted, and the next epoch is not compared all the same: of how that would go nothing is seen. */
  putOff(now: number): void {
    this.#since = now;
  }

  /** A checkpoint took so long, from its order until its output was free, ms. */
  checkpointTook(ms: number): void {
    this.#checkpointMs = this.#checkpointMs === undefined ? ms : (3 * this.#checkpointMs + ms) / 4;
  }

  /**
   * Output of epochs of that mode has left.
   *
   * @param packets how many, which had waited for `waitedMs` together
   * @returns whether the next epoch is to begin soon, for this one is in the wrong mode
   */
  waited(mode: Mode, packets: number, waitedMs: number, now: number): boolean {
    if (!this.#settings.compares) return false;
    this.#waits.add(mode, packets, waitedMs);
    if (mode === 'buffered') this.#measuredAt = now;
    if (this.#mode === 'buffered') return false; // there the next one is never far
    const waitsMs = this.#waits.meanMs('comparing');
    const wouldMs = this.#bufferedMs(now);
    if (waitsMs === undefined || wouldMs === undefined || waitsMs <= wouldMs * worse) return false;
    this.#wasWaitingMs = waitsMs;
    this.#giveUp(
      `output waited for both guests for ${ms(waitsMs)}, and would for a checkpoint for ${ms(wouldMs)}`,
      now,
    );
    return true;
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
      this.#isTrial = false;
      return;
    }
    this.#rounds.push({ begunAt, costMs });
    const wanted = this.#isTrial ? enoughWhenTried : enough;
    if (this.#rounds.length > wanted) this.#rounds.shift();
    const first = this.#rounds[0];
    if (this.#rounds.length < wanted || first === undefined) return;
    const spent = this.#rounds.reduce((sum, round) => sum + round.costMs, 0);
    const passed = Math.max(now - first.begunAt, spent);
    if (passed === 0 || spent / passed <= this.#settings.divergenceShare) return;
    const share = Math.round((spent / passed) * 100);
    this.#wasWaitingMs = undefined;
    this.#giveUp(`the two guests did not agree: ${share} % of the time went into making them equal`, now);
  }

  /** A checkpoint is about to be made: the mode of the epoch that follows it. */
  next(now: number): Mode {
    if (!this.#settings.compares) return 'buffered';
    // A clock that went back puts nothing off.
    this.#since = Math.min(this.#since, now);
    if (this.#mode === 'buffered' && now - this.#since >= this.#waitMs) {
      this.#change('comparing', `tried again after ${Math.round(this.#waitMs / 1000)} s`, now);
      this.#isTrial = true;
    }
    const before = this.#wasWaitingMs;
    const measuredMs = this.#waits.meanMs('buffered');
    if (this.#mode === 'buffered' && before !== undefined && measuredMs !== undefined && measuredMs > before) {
      const why = `output waited for a checkpoint for ${ms(measuredMs)}, and for both guests for ${ms(before)}`;
      this.#change('comparing', why, now);
    }
    return this.#mode;
  }

  /** What output waits in buffered mode, ms, as far as that can be said. */
  #bufferedMs(now: number): number | undefined {
    const isFresh = now - this.#measuredAt <= this.#settings.buffersForMs * measuredHoldsTimes;
    const measuredMs = isFresh ? this.#waits.meanMs('buffered') : undefined;
    if (measuredMs !== undefined) return measuredMs;
    return this.#checkpointMs === undefined ? undefined : this.#checkpointMs * checkpointsWaited;
  }

  #giveUp(why: string, now: number): void {
    const wentWell = now - this.#since > this.#waitMs * 2;
    const { buffersForMs } = this.#settings;
    this.#waitMs = wentWell ? buffersForMs : Math.min(this.#waitMs * 2, buffersForMs * longestTimes);
    this.#change('buffered', why, now);
  }

  #change(mode: Mode, why: string, now: number): void {
    this.#mode = mode;
    this.#why = why;
    this.#since = now;
    this.#rounds.length = 0;
    this.#isTrial = false;
    this.#waits.forget(mode);
    if (mode === 'comparing') this.#wasWaitingMs = undefined;
  }
}

/** For a sentence. */
function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
