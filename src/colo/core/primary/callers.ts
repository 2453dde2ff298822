import { type Rules, specification } from '../rules.ts';
import type { PrimaryPhase } from './primary-phase.ts';

/** A primary that a standby asks whether it is wanted. */
export interface AskedPrimary {
  readonly phase: PrimaryPhase;
  /** It wants to be protected. */
  readonly insists: boolean;
  /** Its standby, or the one that it had last. */
  readonly peerName: string;
}

/**
 * Why a standby that asks is turned away (spec B.7), in words that it is told; it asks again later. Undefined: it is taken, in place of the
 * one that the primary is dialling, if it does: that one may be gone for good. Of several that race one is: to the others the
 * primary is not unprotected any more.
 */
export function whyTurnedAway(
  { phase, insists, peerName }: AskedPrimary,
  rules: Rules = specification,
): string | undefined {
  if (!rules.mayTakeStandby(phase)) return `it has ${peerName} for that`;
  return insists ? undefined : 'protection was ended by an operator: colo-vmm protect there begins it again';
}
