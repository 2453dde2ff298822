import type { Epoch } from '../../protocol/numbers.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';

/**
 * S's disk log is full, and P's guest waits for its disk: that takes its time, but not all the time there is. S owes something only
 * once a checkpoint says that it may lay down what it has.
 */
export class DiskLogWatch {
  readonly #settings: Settings;
  readonly #turn: Turn;
  /** It is full since that epoch; `isOwed`: and may be laid down. */
  #log: { readonly fullIn: Epoch; readonly isOwed: boolean } | undefined;

  constructor(settings: Settings, turn: Turn) {
    this.#settings = settings;
    this.#turn = turn;
  }

  /** A pair is made. */
  begin(): void {
    this.#log = undefined;
  }

  /** Told again when S has laid some. @param open the epoch that the guest runs in */
  changed(isFull: boolean, open: Epoch): void {
    if (!isFull) {
      this.#log = undefined;
      this.#turn.stopTimer('disk-log');
      return;
    }
    if (this.#log?.isOwed === true) this.#turn.startTimer('disk-log', this.#settings.stepMs);
    else this.#log ??= { fullIn: open, isOwed: false };
  }

  /** Writes up to that epoch are S's to lay down: until then it could not. */
  loaded(epoch: Epoch): void {
    const log = this.#log;
    if (log === undefined || log.isOwed || epoch < log.fullIn) return;
    this.#log = { ...log, isOwed: true };
    this.#turn.startTimer('disk-log', this.#settings.stepMs);
  }
}
