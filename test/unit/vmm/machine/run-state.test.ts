import { test } from 'tap';
import { type RunState, RunStateError, RunStateMachine } from '../../../../src/vmm/machine/run-state.ts';

const states: readonly RunState[] = ['created', 'running', 'paused', 'colo', 'ended'];

/** How to get into each state. */
const ways: Readonly<Record<RunState, readonly RunState[]>> = {
  created: [],
  running: ['running'],
  paused: ['running', 'paused'],
  colo: ['colo'],
  ended: ['ended'],
};

/** The table of the state machine's picture. */
const legal = new Set([
  'created running',
  'created paused',
  'created ended',
  'running paused',
  'running ended',
  'created colo',
  'running colo',
  'paused colo',
  'colo running',
  'colo ended',
  'paused running',
  'paused ended',
]);

for (const from of states) {
  for (const to of states) {
    const allowed = legal.has(`${from} ${to}`);
    test(`a machine that is ${from} ${allowed ? 'can become' : 'refuses to become'} ${to}`, async (t) => {
      const machine = new RunStateMachine();
      for (const state of ways[from]) machine.moveTo(state);
      if (allowed) {
        machine.moveTo(to);
        t.equal(machine.state, to);
      } else {
        t.throws(() => machine.moveTo(to), new RunStateError(from, to));
        t.equal(machine.state, from, 'and stays what it is');
      }
    });
  }
}

test('an illegal move names both states', async (t) => {
  t.match(new RunStateError('ended', 'running'), {
    code: 'RUN_STATE',
    message: 'a machine that is ended cannot become running',
  });
});
