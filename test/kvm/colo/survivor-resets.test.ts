import { type Test, test } from 'tap';
import type { StandbyMachine } from '../../../src/colo/machine/standby-machine.ts';
import { gpa } from '../../../src/memory/address.ts';
import type { Machine } from '../../../src/vmm/machine/machine.ts';
import type { MachineEvent } from '../../../src/vmm/machine/machine-events.ts';
import { counterAddress, obedient, orderAddress, orders } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { bufferedGuest, replicatedGuest, sendBoot } from '../../support/replicated-guest.ts';

// A guest begins anew on the standby that has taken over as it did on its primary (spec B.13).

const skip = noKvm();

const counterOf = ({ ram }: Machine): number => ram.memory.readU32(gpa(counterAddress));

function order({ ram }: Machine, what: keyof typeof orders): void {
  ram.memory.writeU32(gpa(orderAddress), orders[what]);
}

/** Has the guest do that, and waits until it has begun anew: its memory is zeros then. */
async function beginsAnew(machine: Machine, what: keyof typeof orders): Promise<void> {
  let resets = 0;
  machine.events.listen(({ kind }: MachineEvent) => {
    if (kind === 'reset') resets++;
  });
  order(machine, what);
  await until(() => resets > 0 || machine.state === 'ended');
  const from = counterOf(machine);
  await until(() => counterOf(machine) > from || machine.state === 'ended');
}

/** What a survivor's guest does is done to it, one after the other. */
async function outlivesAll(t: Test, { machine }: StandbyMachine): Promise<void> {
  for (const what of ['reset', 'tripleFault', 'panic', 'reset'] as const) {
    const ram = machine.ram.memory;
    ram.writeU32(gpa(counterAddress + 64), 77);
    await beginsAnew(machine, what);
    t.equal(machine.state, 'running', what);
    t.equal(ram.readU32(gpa(counterAddress + 64)), 0, `after ${what} its memory was zeros`);
  }
  order(machine, 'powerOff');
  t.strictSame(await machine.ended, { kind: 'power-off' });
}

test('a survivor of a buffered pair begins its guest anew: reboot, triple fault, panic', { skip }, async (t) => {
  const { primary, standby, checkpoint, stateOf } = bufferedGuest(t, obedient(), { reboots: true, onPanic: 'run' });
  await sendBoot(t, primary, standby);
  await until(() => counterOf(primary) > 3);
  await checkpoint(0);
  primary.stop('the test', 0);
  t.equal(standby.revive(stateOf(0), 0).exitCode, undefined);
  standby.emerge(undefined);
  standby.resume();
  await outlivesAll(t, standby);
});

test('so does one of a compared pair, while its RAM becomes as any other', { skip }, async (t) => {
  const { primary, standby, checkpoint } = replicatedGuest(t, obedient(), { reboots: true, onPanic: 'run' });
  await sendBoot(t, primary, standby);
  await until(() => counterOf(primary) > 3);
  await checkpoint(0);
  primary.stop('the test', 0);
  t.equal(standby.hold(), undefined);
  standby.emerge(undefined);
  standby.resume();
  standby.settle((text) => t.fail(text));
  await outlivesAll(t, standby);
});

for (const what of ['reset', 'tripleFault', 'panic'] as const) {
  test(`a standby's guest that ends by a ${what} where the primary's does not is rolled back`, { skip }, async (t) => {
    const pair = replicatedGuest(t, obedient(), { reboots: true, onPanic: 'run' });
    const { primary, standby, replica, checkpoint } = pair;
    await sendBoot(t, primary, standby);
    await checkpoint(0);
    order(standby.machine, what);
    await until(() => replica.ended !== undefined);
    t.equal(standby.machine.state, 'colo', 'it is held, and did not begin anew');
    await checkpoint(1);
    t.equal(replica.ended, undefined);
    const from = counterOf(standby.machine);
    await until(() => counterOf(standby.machine) > from);
  });
}

test('a guest that had reset when its primary was lost begins anew at the takeover', { skip }, async (t) => {
  const { primary, standby, replica, checkpoint } = replicatedGuest(t, obedient(), { reboots: true });
  await sendBoot(t, primary, standby);
  await checkpoint(0);
  standby.machine.ram.memory.writeU32(gpa(counterAddress + 64), 77);
  order(standby.machine, 'reset');
  await until(() => replica.ended !== undefined);
  primary.stop('the test', 0);
  t.equal(standby.hold(), undefined, 'that is no end');
  standby.emerge(undefined);
  standby.resume();
  t.equal(standby.machine.state, 'running');
  await until(() => counterOf(standby.machine) > 0);
  t.equal(standby.machine.ram.memory.readU32(gpa(counterAddress + 64)), 0);
  order(standby.machine, 'powerOff');
  t.strictSame(await standby.machine.ended, { kind: 'power-off' });
});

test('where the primary ends by a reset, so does the survivor', { skip }, async (t) => {
  const { primary, standby, replica, checkpoint } = replicatedGuest(t, obedient());
  await checkpoint(0);
  order(standby.machine, 'reset');
  await until(() => replica.ended !== undefined);
  primary.stop('the test', 0);
  t.equal(standby.hold()?.kind, 'reset');
});
