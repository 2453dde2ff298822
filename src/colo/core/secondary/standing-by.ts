import type { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import type { Gathering } from './gathering.ts';
import type { SecondaryPhase } from './secondary-phase.ts';

/** What the parts of a secondary have in common. */
export interface StandbyParts {
  readonly rules: Rules;
  readonly settings: Settings;
  readonly turn: Turn;
  readonly phase: StateMachine<SecondaryPhase>;
  readonly gathering: Gathering;
}

/** The connection is closed, and nothing is awaited on it. */
export function disconnect(turn: Turn): void {
  turn.do({ kind: 'close' });
  quiet(turn);
}

/** Nothing is awaited of the peer any more. */
export function quiet(turn: Turn): void {
  turn.stopTimer('heartbeat');
  turn.stopTimer('step');
}
