import { MessageChannel } from 'node:worker_threads';
import { test } from 'tap';
import type { IoDeviceState } from '../../../../src/vmm/io/io-device-state.ts';
import { stateCellBytes, tellWantedStates, WantedStates } from '../../../../src/vmm/io/io-states.ts';

function rig(t: { teardown(clean: () => void): void }) {
  const { port1, port2 } = new MessageChannel();
  t.teardown(() => port1.close());
  const cells = new SharedArrayBuffer(stateCellBytes);
  let saves = 0;
  const parking = tellWantedStates(
    { cells, port: port2 },
    { save: () => [{ name: `save ${++saves}` } as IoDeviceState] },
  );
  return { states: new WantedStates({ cells, port: port1 }), parking };
}

test('a thread that parks tells what its devices are in, if that is wanted', async (t) => {
  const { states, parking } = rig(t);
  parking();
  states.want();
  t.equal(states.areTold, false);
  parking();
  t.equal(states.areTold, true);
  t.strictSame(states.take(), [{ name: 'save 1' }], 'and saved nothing when nobody wanted it');
});

test('it tells once, however often it parks until the next are wanted', async (t) => {
  const { states, parking } = rig(t);
  states.want();
  parking();
  parking();
  t.strictSame(states.take(), [{ name: 'save 1' }]);
  states.want();
  parking();
  t.strictSame(states.take(), [{ name: 'save 2' }]);
});

test('states that nobody took are not taken for later ones', async (t) => {
  const { states, parking } = rig(t);
  states.want();
  parking();
  states.want();
  t.equal(states.areTold, false, 'the thread has not parked since');
  parking();
  t.strictSame(states.take(), [{ name: 'save 2' }]);
});

test('taking what was never told is an error, not an earlier state', async (t) => {
  const { states, parking } = rig(t);
  states.want();
  parking();
  states.want();
  t.throws(() => states.take(), { message: /did not tell/ });
});
