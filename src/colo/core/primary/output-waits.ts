import type { Mode } from '../../protocol/numbers.ts';

/** Of fewer packets nothing is said. */
const enough = 24;

/**
 * How long packets of P's guest wait until they leave, on average, in each mode: what a client pays for protection, whichever way
 * it is paid. Of twice {@link enough} packets half are forgotten, so that it is what has been lately.
 */
export class OutputWaits {
  readonly #of: Readonly<Record<Mode, { packets: number; ms: number }>> = {
    comparing: { packets: 0, ms: 0 },
    buffered: { packets: 0, ms: 0 },
  };

  /** So many packets have left, which had waited for `waitedMs` together. */
  add(mode: Mode, packets: number, waitedMs: number): void {
    const all = this.#of[mode];
    all.packets += packets;
    all.ms += waitedMs;
    if (all.packets < 2 * enough) return;
    all.ms = (all.ms / all.packets) * enough;
    all.packets = enough;
  }

  /** Undefined: too few have left to say. */
  meanMs(mode: Mode): number | undefined {
    const { packets, ms } = this.#of[mode];
    return packets < enough ? undefined : ms / packets;
  }

  forget(mode: Mode): void {
    this.#of[mode].packets = 0;
    this.#of[mode].ms = 0;
  }
}
