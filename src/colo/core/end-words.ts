import { type End, mostReasonLength } from '../protocol/messages.ts';
import type { Role } from '../protocol/numbers.ts';

/** What is said of protection that ended in order (spec B.13), on either side. */

/** An operator of this side wanted that. */
export const endedHere = 'an operator ended protection here (colo-vmm unprotect)';

/** A guest has ended, and S is to end without the last of it. */
export const lastIsLate = 'its last checkpoint took too long';

/** The peer did. @param peer which of the two sides that is */
export function whyPeerEnded({ reason, why }: Pick<End, 'reason' | 'why'>, peer: Role): string {
  const name = peer === 'primary' ? 'primary' : 'standby';
  switch (reason) {
    case 'unprotect':
      return `an operator ended protection on the ${name} (colo-vmm unprotect)`;
    case 'power-off':
      return why === undefined ? 'the guest has ended' : `the guest has ended: ${why}`;
    case 'stopped':
      return `the ${name} was stopped`;
    case 'error':
      return why === undefined ? `the ${name} ended protection` : `the ${name} ended protection: ${why}`;
    default:
      return reason satisfies never;
  }
}

/** A reason of any length, as much of it as travels. */
export function bounded(reason: string): string {
  return reason.length <= mostReasonLength ? reason : `${reason.slice(0, mostReasonLength - 1)}\u2026`;
}
