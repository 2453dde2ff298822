import { test } from 'tap';
import { whyTurnedAway } from '../../../../../src/colo/core/primary/callers.ts';
import { type PrimaryPhase, primaryMoves } from '../../../../../src/colo/core/primary/primary-phase.ts';

const phases = Object.keys(primaryMoves) as PrimaryPhase[];

test('a primary takes a standby that asks while it has none, and tells the others whom it has', (t) => {
  const taken = phases.filter((phase) => whyTurnedAway({ phase, insists: true, peerName: 'b' }) === undefined);
  t.strictSame(taken, ['unprotected', 'connecting'], 'the one that it dials may never answer');
  t.equal(whyTurnedAway({ phase: 'synchronising', insists: true, peerName: 'b' }), 'it has b for that');
  t.end();
});

test('one whose protection was ended takes nobody, and says so', (t) => {
  t.equal(
    whyTurnedAway({ phase: 'unprotected', insists: false, peerName: 'b' }),
    'protection was ended by an operator: colo-vmm protect there begins it again',
  );
  t.end();
});
