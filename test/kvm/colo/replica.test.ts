import { test } from 'tap';
import { gpa } from '../../../src/memory/address.ts';
import type { Machine } from '../../../src/vmm/machine/machine.ts';
import { noDevices } from '../../../src/vmm/machine/machine-devices.ts';
import { OpenEpoch } from '../../../src/vmm/platform/shared-protection.ts';
import { counterAddress, sweeping } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { replicatedGuest as pair } from '../../support/replicated-guest.ts';
import { drawing, drawn } from '../../support/virtio-guests.ts';

const skip = noKvm();

const clockOf = (machine: Machine): number => Number(machine.save().clock.kvmclockNs) / 1e6;

const counterOf = ({ ram }: Pick<Machine, 'ram'>): number => ram.memory.readU32(gpa(counterAddress));

test("a standby's guest runs from each checkpoint, and is P's again at the next, whatever it did", {
  skip,
}, async (t) => {
  const { primary, standby, checkpoint } = pair(t, sweeping(1024, 300));
  for (let n = 0; n < 6; n++) {
    await checkpoint(n);
    const [mine, theirs] = [counterOf(primary), counterOf(standby.machine)];
    await until(() => counterOf(primary) > mine && counterOf(standby.machine) > theirs);
  }
});

test('a guest that has ended at its standby alone runs again from the next checkpoint', { skip }, async (t) => {
  const end = 5000;
  const { primary, standby, replica, checkpoint } = pair(t, sweeping(1024, 10, end));
  let ends = 0;
  replica.onEnd = () => ends++;
  await until(() => counterOf(primary) > 1);
  primary.pause();
  for (let n = 0; n < 3; n++) {
    await checkpoint(n);
    await until(() => ends === n + 1);
    t.equal(counterOf(standby.machine), end);
    t.equal(replica.ended?.kind, 'power-off');
    t.equal(standby.machine.state, 'colo', 'it is held, as its guest left it');
  }
  t.ok(counterOf(primary) < end);
});

test('a guest that goes on by itself is where it was, and its memory is its own', { skip }, async (t) => {
  const { primary, standby, replica, checkpoint } = pair(t, sweeping(1024, 300));
  await until(() => counterOf(primary) > 3);
  await checkpoint(0);
  const from = counterOf(standby.machine);
  await until(() => counterOf(standby.machine) > from);
  primary.stop('the test', 0);
  standby.hold();
  const at = counterOf(standby.machine);
  t.ok(at > from);
  standby.emerge(undefined);
  t.equal(replica.ended, undefined);
  standby.announce();
  t.equal(counterOf(standby.machine), at, 'nothing of it was lost');
  standby.resume();
  await until(() => counterOf(standby.machine) > at);
  t.equal(standby.machine.state, 'running');
});

test("a standby's guest is started at P's time, not at that of the stop", { skip }, async (t) => {
  const { primary, standby, replica, checkpoint } = pair(t, sweeping(1024, 300));
  await until(() => counterOf(primary) > 3);
  const passedMs = 60_000;
  await checkpoint(0, passedMs);
  replica.park();
  const theirs = clockOf(standby.machine);
  primary.pause();
  const mine = clockOf(primary);
  t.ok(theirs > mine + passedMs / 2, `P's clock is at ${mine} ms, that of the other guest at ${theirs}`);
});

test("what a standby's guest was fed is for nobody once it is rolled back, until it runs again", {
  skip,
}, async (t) => {
  const { replica, checkpoint } = pair(t, sweeping(1024, 300));
  const open = new OpenEpoch(replica.shared.epoch);
  for (const n of [0, 1]) {
    await checkpoint(n);
    t.equal(open.number, n + 1);
    replica.rollBack();
    t.equal(open.number, 0, 'in no feed is anything of that epoch');
  }
});

/** Has guests draw on until they have drawn so often; what they drew last. */
async function draw(count: number, last: number, ...machines: readonly Machine[]): Promise<string[]> {
  for (const { ram } of machines) ram.memory.writeU32(gpa(drawn.limit), count);
  await until(() => machines.every(({ ram }) => ram.memory.readU32(gpa(drawn.count)) === count));
  const at = gpa(drawn.bytes + (count - last) * drawn.eachBytes);
  return machines.map(({ ram }) => Buffer.from(ram.memory.slice(at, last * drawn.eachBytes)).toString('hex'));
}

test("a standby's guest draws the same entropy as P's, other bytes after each checkpoint, and its own when it has taken over", {
  skip,
}, async (t) => {
  const { primary, standby, checkpoint } = pair(t, drawing(0), { devices: { ...noDevices, rng: { kind: 'host' } } });
  const seen = new Set<string>();
  const isNew = (bytes: string): boolean => !seen.has(bytes) && seen.size < seen.add(bytes).size;
  t.ok(isNew((await draw(200, 100, primary))[0] as string));
  for (let n = 0; n < 4; n++) {
    await checkpoint(n);
    const [mine, theirs] = await draw(100 * n + 300, 100, primary, standby.machine);
    t.equal(theirs, mine, `after checkpoint ${n}`);
    t.ok(isNew(mine as string), 'and not what was drawn before');
  }
  const state = primary.whilePaused(() => primary.save().devices[0]?.transport.device);
  t.strictSame(state, { kind: 'rng', version: 1, seeded: null }, 'a snapshot of P has nothing of it');
  standby.hold();
  standby.emerge(undefined);
  standby.resume();
  const [mine, theirs] = await draw(700, 100, primary, standby.machine);
  t.ok(isNew(mine as string));
  t.ok(isNew(theirs as string), 'none that P has drawn');
});
