import type { ColoDivergence } from '../../vmm/monitor/colo-control.ts';
import type { Divergence } from '../compare/divergence.ts';
import { explained } from './explanation.ts';

/**
 * The last divergences of a protection, in words, for `colo-vmm status --why`. Those of one kind that follow each other are one:
 * a page that says the time would leave room for nothing else.
 */
export class RecentDivergences {
  readonly #most: number;
  readonly #kept: { divergence: Divergence; kind: string; at: number; number: number; times: number }[] = [];
  #count = 0;

  constructor(most = 8) {
    this.#most = most;
  }

  /** @param at milliseconds since 1970 */
  add(divergence: Divergence, at: number): void {
    const kind = kindOf(divergence);
    const number = ++this.#count;
    const last = this.#kept.at(-1);
    if (last?.kind === kind) {
      Object.assign(last, { divergence, at, number, times: last.times + 1 });
      return;
    }
    this.#kept.push({ divergence, kind, at, number, times: 1 });
    if (this.#kept.length > this.#most) this.#kept.shift();
  }

  /** The newest first. */
  list(): ColoDivergence[] {
    return this.#kept
      .map(({ divergence, at, number, times }) => ({ at, number, times, ...explained(divergence) }))
      .reverse();
  }
}

/** Reason, what the guest's end is, and what both said before: clients and places in a stream do not count. */
function kindOf({ reason, flow, waits, before }: Divergence): string {
  const [guest = flow] = flow.split(' - ', 1);
  const line = before === undefined ? '' : Buffer.from(before).toString('latin1').split('\n').at(-1);
  return [reason, waits, guest, /^[a-z-]*/i.exec(line ?? '')?.[0]].join(' ');
}
