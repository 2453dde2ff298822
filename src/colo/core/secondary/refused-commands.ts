import { refusals } from '../commands.ts';
import type { Command } from '../events.ts';
import type { FailoverState } from '../fencing/failover.ts';
import { hasPeer, type SecondaryPhase } from './secondary-phase.ts';

/** Why a secondary does not do what an operator wants; undefined if it does. */
export function whyRefused(name: Command['name'], phase: SecondaryPhase, failover: FailoverState): string | undefined {
  switch (name) {
    case 'failover':
    case 'lost-heartbeat':
      if (failover !== 'none') return refusals.failingOver;
      if (phase === 'seeding' || phase === 'ready') return refusals.notReady;
      return phase === 'protecting' || phase === 'taking-over' ? undefined : refusals.noColo;
    case 'unprotect':
      if (!hasPeer(phase) || phase === 'greeting') return refusals.notProtected;
      return phase === 'taking-over' ? refusals.switching : undefined;
    case 'protect':
    case 'checkpoint':
    case 'switchover':
    case 'set-checkpoint-delay':
      return refusals.notASecondarys;
    default:
      name satisfies never;
      return undefined;
  }
}
