import { test } from 'tap';
import { EndKeeper } from '../../../../src/vmm/machine/end-keeper.ts';
import type { GuestEnd } from '../../../../src/vmm/vcpu/guest-end.ts';

const powerOff: GuestEnd = { kind: 'power-off' };

function rig(hold: () => void = () => {}) {
  const calls: unknown[] = [];
  const keeper = new EndKeeper(() => {
    calls.push('hold');
    hold();
  });
  return { keeper, calls, watch: (end: GuestEnd) => calls.push(end) };
}

test('without a keeper nothing is kept', async (t) => {
  const { keeper, calls } = rig();
  t.equal(keeper.keep(powerOff), false);
  t.equal(keeper.take(), undefined);
  t.strictSame(calls, []);
});

test('the first end is kept: the machine is held, then its keeper is told, once', async (t) => {
  const { keeper, calls, watch } = rig();
  keeper.keeper = watch;
  t.equal(keeper.keep(powerOff), true);
  t.equal(keeper.keep({ kind: 'stopped', by: 'the monitor', exitCode: 0 }), true, 'a later one changes nothing');
  t.strictSame(calls, ['hold', powerOff]);
  t.equal(keeper.take(), powerOff);
  t.equal(keeper.keep(powerOff), false, 'it has been taken');
});

test('a signal and a failure of ours end the machine at once', async (t) => {
  const { keeper, calls, watch } = rig();
  keeper.keeper = watch;
  t.equal(keeper.keep({ kind: 'stopped', by: 'SIGTERM', exitCode: 143, vmmOnly: true }), false);
  t.equal(keeper.keep({ kind: 'vmm-failure', what: 'a thread' }), false);
  t.strictSame(calls, []);
});

test('an end of a machine that cannot be held is not kept, and nobody is told', async (t) => {
  const { keeper, calls, watch } = rig(() => {
    throw new Error('no');
  });
  keeper.keeper = watch;
  t.throws(() => keeper.keep(powerOff), { message: 'no' });
  t.equal(keeper.take(), undefined);
  t.strictSame(calls, ['hold']);
});
