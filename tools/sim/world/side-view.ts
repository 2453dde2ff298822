import type { Gate } from '../../../src/colo/core/epochs/gate.ts';
import type { Role, Term } from '../../../src/colo/protocol/numbers.ts';
import type { Answer } from './fakes/fake-guest.ts';

/** What the world sees of a side. */
export interface SideView {
  readonly role: Role;
  /** The process, whatever its role has become. */
  readonly holder: object;
  readonly core: { readonly phase: string; readonly step: string; readonly term: Term };
  readonly gate: Gate<Answer>;
  readonly durableTerm: number;
  readonly diskFailureKnown: boolean;
  readonly dead: boolean;
  readonly now: number;
  readonly guestClockOffset: number;
}
