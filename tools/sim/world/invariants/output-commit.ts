import type { Secondary } from '../../../../src/colo/core/secondary/secondary.ts';
import type { Answer, FakeGuest } from '../fakes/fake-guest.ts';
import type { SideView } from '../side-view.ts';
import type { CheckpointTruths } from './checkpoint-truths.ts';
import { Violation } from './violation.ts';

/** Phases in which S may go live. */
const mayTakeOver: ReadonlySet<string> = new Set(['protecting', 'taking-over', 'claiming']);

interface Standby extends Pick<SideView, 'core'> {
  readonly secondary: Secondary;
  readonly guest: FakeGuest;
}

/** B.2, when P writes an answer that was held: a side that may take over has said it, or stands at a checkpoint that has. */
export function checkCommitted({ index, hash }: Answer, standby: Standby, truths: CheckpointTruths): void {
  const { core, secondary, guest } = standby;
  if (!mayTakeOver.has(core.phase)) return;
  if (truths.hadSaid(secondary.received, index, hash)) return;
  if ((secondary.guest !== 'none' || core.step === 'starting') && guest.said[index] === hash) return;
  throw new Violation('B.2', `the primary releases answer ${index}, and the secondary's guest never gave it`);
}
