import type { Role } from '../../../../src/colo/protocol/numbers.ts';
import type { Fault } from '../../faults.ts';

/** The faults of a schedule, each of which is due before some effect of a side, and the count of all effects. */
export class FaultPlan {
  /** Effects so far. */
  effects = 0;
  /** By kind of each role, of those that a fault waits for. */
  readonly #effectsOf: Record<Role, Map<string, number>> = { primary: new Map(), secondary: new Map() };
  readonly #pending: Fault[];
  /** Those that happened. */
  applied = 0;

  constructor(faults: readonly Fault[]) {
    this.#pending = [...faults];
    for (const { side, before } of faults) if (before !== 'any') this.#effectsOf[side].set(before, 0);
  }

  /** An effect is about to be done. @param strike given each fault that is due, which may be followed by other effects at once */
  before(role: Role, kind: string, strike: (fault: Fault) => void): void {
    const pending = this.#pending;
    if (pending.length === 0) return;
    const counts = this.#effectsOf[role];
    const earlier = counts.get(kind);
    const nth = (earlier ?? 0) + 1;
    if (earlier !== undefined) counts.set(kind, nth);
    for (let at = 0; at < pending.length; at++) {
      const fault = pending[at] as Fault;
      const due =
        fault.before === 'any'
          ? this.effects >= fault.nth
          : fault.before === kind && fault.side === role && nth >= fault.nth;
      if (!due) continue;
      pending.splice(at--, 1);
      strike(fault);
    }
  }
}

/** In liveness mode, what may still happen once one side is to be well. */
export function sparesHealthy(fault: Fault, side: Role): boolean {
  if (fault.kind.startsWith('arbiter') || fault.kind.startsWith('guest') || fault.kind.startsWith('asked'))
    return false;
  if (fault.kind === 'clock-jumps' || fault.kind === 'clock-rate') return false;
  if (fault.kind === 'link-slow' || fault.kind === 'link-fades') return false;
  if (fault.kind === 'hostile-peer') return true;
  return (
    fault.side !== side ||
    fault.kind === 'link-cut' ||
    fault.kind === 'card-stalls' ||
    fault.kind === 'direction-cut' ||
    fault.kind === 'connection-breaks'
  );
}
