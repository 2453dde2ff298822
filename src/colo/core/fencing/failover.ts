import { type Moves, StateMachine } from '../moves.ts';

/**
 * Failover, as spec A.1 and A.4 have it.
 *
 *     none --> require --> active --> completed
 *      ^ ^        |          |
 *      | +--------+          v          require --> none: the arbiter said no (spec B.6)
 *      +---------------- relaunch       active --> relaunch: a load is to be finished first
 */
export type FailoverState = 'none' | 'require' | 'active' | 'relaunch' | 'completed';

const moves: Moves<FailoverState> = {
  none: ['require'],
  require: ['active', 'none'],
  active: ['completed', 'relaunch'],
  relaunch: ['none'],
  completed: ['none'],
};

export type Failover = StateMachine<FailoverState>;

export function newFailover(): Failover {
  return new StateMachine('failover', moves, 'none');
}
