import type { Mode } from '../../protocol/numbers.ts';
import type { PrimaryEvent } from '../events.ts';
import type { Settings } from '../settings.ts';
import { ModeSwitch } from './mode-switch.ts';

/** One epoch: how its output leaves, when it began, and when the guests were first found to disagree in it. */
interface EpochMode {
  readonly mode: Mode;
  readonly since: number;
  /** What it would be if S's disk were not behind. */
  readonly wanted: Mode;
  divergedAt?: number;
}

/**
 * In which mode each epoch is that P still has to do with (spec B.8): the open one, the one that the last stop closed, and the one
 * that a stop which is ordered will open. What a closed epoch's divergence cost goes to the switch.
 */
export class EpochModes {
  readonly #switch: ModeSwitch;
  #open: EpochMode = { mode: 'buffered', since: 0, wanted: 'buffered' };
  #closed = this.#open;
  #ordered: Mode = 'buffered';
  #orderedAt = 0;
  #wanted: Mode = 'buffered';

  constructor(settings: Settings) {
    this.#switch = new ModeSwitch(settings);
  }

  /** Of the open epoch. */
  get open(): Mode {
    return this.#open.mode;
  }

  /** Of the epoch that the stop which was ordered last opens. */
  get ordered(): Mode {
    return this.#ordered;
  }

  /** Why the mode is what it is: a sentence for an operator. */
  get why(): string {
    return this.#ordered !== this.#wanted
      ? "the standby's guest would wait until its disk has what was written"
      : this.#switch.why;
  }

  /** A pair is made: until its first checkpoint S has nothing to run. */
  begin(now: number): void {
    this.#open = { mode: 'buffered', since: now, wanted: 'buffered' };
    this.#closed = this.#open;
    this.#wanted = 'buffered';
    this.#ordered = 'buffered';
    this.#switch.begin(now);
  }

  /** A stop is ordered: the mode of the epoch that it opens. @param mayCompare S's guest would not wait for its disk */
  order(now: number, mayCompare: boolean): Mode {
    this.#wanted = this.#switch.next(now);
    this.#ordered = mayCompare ? this.#wanted : 'buffered';
    if (this.#ordered !== this.#wanted) this.#switch.putOff(now);
    this.#orderedAt = now;
    return this.#ordered;
  }

  /** The stop that was ordered is over. @returns whether the mode is another one now, or what it would be */
  captured(now: number): boolean {
    this.#closed = this.#open;
    this.#open = { mode: this.#ordered, since: now, wanted: this.#wanted };
    return this.#open.mode !== this.#closed.mode || this.#open.wanted !== this.#closed.wanted;
  }

  /** That was for S's disk alone: it comes and goes with how far that is behind. */
  get changedForDisk(): boolean {
    return this.#open.wanted === this.#closed.wanted;
  }

  /** The guests do not agree, in the open epoch. @param waitedMs for how long output has waited until that was known */
  diverges(now: number, waitedMs: number): void {
    this.#open.divergedAt ??= Math.max(this.#open.since, now - Math.max(0, waitedMs));
  }

  /** Output has left. @returns whether the next epoch is to begin soon: see {@link ModeSwitch.waited} */
  waited({ mode, packets, waitedMs }: Extract<PrimaryEvent, { kind: 'output-waited' }>, now: number): boolean {
    return this.#switch.waited(mode, packets, waitedMs, now);
  }

  /** Output of the closed epoch is free. @param wasForDivergence it was closed because the guests did not agree */
  released(wasForDivergence: boolean, now: number): void {
    const { mode, since, divergedAt = now } = this.#closed;
    this.#switch.checkpointTook(Math.max(0, now - this.#orderedAt));
    if (mode === 'comparing') this.#switch.compared(wasForDivergence, since, Math.max(0, now - divergedAt), now);
  }
}
