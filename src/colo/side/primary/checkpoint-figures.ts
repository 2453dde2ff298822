import type { Captured } from '../../machine/shared-checkpoints.ts';
import type { Epoch } from '../../protocol/numbers.ts';
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
  #onItsWay: { readonly epoch: Epoch; readonly reasons: readonly string[] } | undefined;
  /** The last one that the standby has, and since when. */
  #received: { readonly epoch: Epoch; readonly reasons: readonly string[]; readonly at: number } | undefined;
  #last: Pick<Captured, 'pages' | 'parts'> | undefined;

  /** A guest is protected anew. */
  begin(): void {
    this.count = 0;
  }

  /** Its machine is the pair's no more. */
  end(): void {
    this.#last = undefined;
    this.#onItsWay = undefined;
    this.#received = undefined;
  }

  captured({ stoppedMs, pages, parts }: Captured, now: number): void {
    this.#last = { pages, parts };
    this.#stops.add(stoppedMs, now);
    this.#totals.stoppedMs += stoppedMs;
    this.#totals.pages += pages;
  }

  /** One is on its way, for these reasons. */
  begun(epoch: Epoch, reasons: readonly string[]): void {
    this.count++;
    this.#totals.checkpoints++;
    for (const reason of reasons) this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
    this.#onItsWay = { epoch, reasons };
  }

  /** The standby has all checkpoints up to this one. */
  received(through: Epoch, now: number): void {
    if (this.#onItsWay === undefined || this.#onItsWay.epoch > through) return;
    this.#received = { ...this.#onItsWay, at: now };
    this.#onItsWay = undefined;
  }

  status(now: number): Pick<OwnStatus, 'totals' | 'checkpoint' | 'stops'> {
    const stops = this.#stops.summary(now);
    return {
      totals: { ...this.#totals, reasons: { ...this.#reasons } },
      ...(this.#received === undefined
        ? {}
        : {
            checkpoint: {
              epoch: this.#received.epoch,
              msAgo: now - this.#received.at,
              reasons: this.#received.reasons,
            },
          }),
      ...(stops === undefined || this.#last === undefined ? {} : { stops: { ...stops, ...this.#last } }),
    };
  }
}
