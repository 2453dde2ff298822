import type { Captured } from '../../machine/shared-checkpoints.ts';
import type { OwnStatus } from '../host.ts';
import { RecentFigures } from './recent-figures.ts';

/** What `status` says of a primary's checkpoints. Times in ms, by its own clock. */
export class CheckpointFigures {
  /** Of this protection. */
  count = 0;
  readonly #stops = new RecentFigures();
  /** Over all protections. */
  readonly #totals = { checkpoints: 0, stoppedMs: 0, pages: 0 };
  readonly #reasons: Record<string, number> = {};
  #lastReasons: readonly string[] = [];
  #lastAt: number | undefined;
  #last: Pick<Captured, 'pages' | 'parts'> | undefined;

  /** A guest is protected anew. */
  begin(): void {
    this.count = 0;
  }

  /** Its machine is the pair's no more. */
  end(): void {
    this.#last = undefined;
  }

  captured({ stoppedMs, pages, parts }: Captured, now: number): void {
    this.#last = { pages, parts };
    this.#stops.add(stoppedMs, now);
    this.#totals.stoppedMs += stoppedMs;
    this.#totals.pages += pages;
  }

  /** One is on its way, for these reasons. */
  begun(reasons: readonly string[], now: number): void {
    this.count++;
    this.#totals.checkpoints++;
    for (const reason of reasons) this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
    this.#lastReasons = reasons;
    this.#lastAt = now;
  }

  /** @param epoch that is open */
  status(epoch: number, delayMs: number, now: number): Pick<OwnStatus, 'totals' | 'checkpoint' | 'stops'> {
    const stops = this.#stops.summary(now);
    return {
      totals: { ...this.#totals, reasons: { ...this.#reasons } },
      ...(this.#lastAt === undefined
        ? {}
        : { checkpoint: { epoch: epoch - 1, msAgo: now - this.#lastAt, delayMs, reasons: this.#lastReasons } }),
      ...(stops === undefined || this.#last === undefined ? {} : { stops: { ...stops, ...this.#last } }),
    };
  }
}
