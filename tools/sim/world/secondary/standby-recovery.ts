import type { Notice } from '../../../../src/colo/core/events.ts';
import type { Recovery } from '../../../../src/colo/core/fencing/recovery.ts';
import type { SecondaryProcess } from './secondary-process.ts';

/** A standby that was given up stands by again once its host has been well for as long as src/colo/core/fencing/recovery.ts wants. */
export class StandbyRecovery {
  readonly #side: SecondaryProcess;
  readonly recovery: Recovery;
  readonly #turnMs: number;
  /** It was given up, and its host is well again. */
  mayStandByAgain = false;

  /** @param turnMs its threads are to turn so often */
  constructor(side: SecondaryProcess, recovery: Recovery, turnMs: number) {
    this.#side = side;
    this.recovery = recovery;
    this.#turnMs = turnMs;
  }

  noticed({ kind }: Notice): void {
    if (kind === 'protected') this.recovery.protects(this.#side.now);
    if (kind !== 'fenced') return;
    this.recovery.givenUp(this.#side.now);
    this.#waitForCalm();
  }

  #waitForCalm(): void {
    const side = this.#side;
    side.world.agenda.after(this.#turnMs, () =>
      side.process(() => {
        this.recovery.turned(side.now);
        if (this.recovery.left(side.now) > 0) this.#waitForCalm();
        else this.mayStandByAgain = true;
      }),
    );
  }
}
