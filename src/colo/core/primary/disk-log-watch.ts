import { type Epoch, noCheckpoint } from '../../protocol/numbers.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';

/**
 * S's disk log is full, and P's guest waits for its disk: that takes its time, but not all the time there is. S owes something only
 * once a checkpoint says that it may lay down what it has.
 */
export class DiskLogWatch {
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  /** The checkpoint that S stands at. */
  #loaded = noCheckpoint;
  /** The log is full, of changes up to that epoch. */
  #fullOf: Epoch | undefined;

  constructor(settings: Settings, rules: Rules, turn: Turn) {
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = turn;
  }

  /** A pair is made. */
  begin(): void {
    this.#fullOf = undefined;
    this.#loaded = noCheckpoint;
    this.#turn.stopTimer('disk-log');
  }

  /** Told again when S has laid some. @param of the epoch whose checkpoint lets S make room */
  changed(isFull: boolean, of: Epoch): void {
    if (!isFull) {
      this.#fullOf = undefined;
      this.#turn.stopTimer('disk-log');
      return;
    }
    this.#fullOf ??= of;
    if (this.#isOwed) this.#turn.startTimer('disk-log', this.#settings.stepMs);
  }

  /** Writes up to that epoch are S's to lay down: until then it could not. */
  loaded(epoch: Epoch): void {
    const wasOwed = this.#isOwed;
    this.#loaded = epoch;
    if (this.#isOwed && !wasOwed) this.#turn.startTimer('disk-log', this.#settings.stepMs);
  }

  get #isOwed(): boolean {
    return this.#fullOf !== undefined && this.#rules.owesLaying(this.#loaded, this.#fullOf);
  }
}
