import type { PrimaryEvent } from '../core/events.ts';
import type { Mode } from '../protocol/numbers.ts';

/** Of so many packets it is known how long they have waited for S's guest. */
const lastKept = 256;

/** What the core hears of P's output that waits (spec B.8): that there is some, once an epoch, and for how long what has left had waited. */
export class WaitingOutput {
  readonly #post: (event: PrimaryEvent) => void;
  /** The core knows that there is some, in the epoch that is open on the stream. */
  #isKnown = false;
  /** Of packets that have left since the core was last told: how many, and how long they had waited together, ms. */
  readonly #waited = { comparing: { packets: 0, ms: 0 }, buffered: { packets: 0, ms: 0 } };

  /** How long the last packets that both guests said had waited for S's, ms; as a ring. */
  readonly #behind = new Float64Array(lastKept);
  #matched = 0;

  constructor(post: (event: PrimaryEvent) => void) {
    this.#post = post;
  }

  /** An epoch begins, of which the core knows nothing. */
  beginEpoch(): void {
    this.#isKnown = false;
  }

  /** There is some. Hot path. */
  waits(): void {
    if (this.#isKnown) return;
    this.#isKnown = true;
    this.#post({ kind: 'output-waits' });
  }

  /** A packet has left, which was held so long. Hot path. @param mode how output of its epoch leaves */
  left(mode: Mode, waitedMs: number): void {
    const waited = this.#waited[mode];
    waited.packets++;
    waited.ms += waitedMs;
  }

  /** It left because S's guest had said it as well, which P's had said so long before. Hot path. */
  matched(waitedMs: number): void {
    this.#behind[this.#matched++ % lastKept] = waitedMs;
  }

  /** How far S's guest is behind P's, ms, by the last packets of which both were compared; undefined: there was none. */
  get behind(): { readonly median: number; readonly worst: number } | undefined {
    if (this.#matched === 0) return undefined;
    const sorted = this.#behind.slice(0, this.#matched).sort();
    return { median: sorted[sorted.length >> 1] as number, worst: sorted.at(-1) as number };
  }

  /** To be called now and then: tells how long output has waited, if some has left. */
  tell(): void {
    for (const mode of ['comparing', 'buffered'] as const) {
      const waited = this.#waited[mode];
      const { packets, ms } = waited;
      if (packets === 0) continue;
      waited.packets = 0;
      waited.ms = 0;
      this.#post({ kind: 'output-waited', mode, packets, waitedMs: ms });
    }
  }
}
