/** For `status`: the standby's disk takes less than the guest writes. */
export interface SlowStandby {
  /** Part of the last seconds in which the guest's writes waited for that disk. */
  readonly share: number;
  /** What it laid down meanwhile. */
  readonly bytesPerSecond: number;
}

/** So long is looked back, ms; after less nothing is said, which may be a burst. */
export const paceMs = 10_000;
const leastMs = 3000;
/** A guest that waits less is served well enough. */
const leastShare = 0.2;
/** Longer no heartbeat speaks for; where they are rarer than that, as long as they take, and may come late. */
const leastGapMs = 1000;
const lateMs = 500;

/** How long the guest's writes wait for the standby's disk, and what that takes. Times in ms. */
export class StandbyPace {
  readonly #mostGapMs: number;
  readonly #heard: { readonly at: number; readonly waited: boolean; readonly laidBytes: number }[] = [];

  /** @param heartbeatMs S says something at least so often */
  constructor(heartbeatMs: number) {
    this.#mostGapMs = Math.max(leastGapMs, heartbeatMs + lateMs);
  }

  /** S said how much it has laid down; `waited`: the guest's writes have waited for more. */
  heard(at: number, waited: boolean, laidBytes: number): void {
    const heard = this.#heard;
    // A clock that went back, or a gap: what was before says nothing about now.
    const last = heard.at(-1);
    if (last !== undefined && !(at >= last.at && at - last.at <= this.#mostGapMs)) heard.length = 0;
    heard.push({ at, waited, laidBytes });
    let old = 0;
    while ((heard[old] as { at: number }).at < at - paceMs) old++;
    heard.splice(0, old);
  }

  /** Undefined: it keeps up, or that is not known yet. */
  get slow(): SlowStandby | undefined {
    const first = this.#heard[0];
    const last = this.#heard.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < leastMs) return undefined;
    const ms = last.at - first.at;
    let waitedMs = 0;
    let before = first.at;
    for (const { at, waited } of this.#heard) {
      if (waited) waitedMs += at - before;
      before = at;
    }
    const share = waitedMs / ms;
    if (share < leastShare) return undefined;
    return { share, bytesPerSecond: ((last.laidBytes - first.laidBytes) * 1000) / ms };
  }
}
