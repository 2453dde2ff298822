import { type Test, test } from 'tap';
import { newSharedDisks } from '../../../src/colo/disk/shared-disks.ts';
import { CheckpointSource } from '../../../src/colo/machine/checkpoint-source.ts';
import { decodeState } from '../../../src/colo/machine/checkpoint-state.ts';
import { shapeOfMachine } from '../../../src/colo/machine/machine-shapes.ts';
import type { Replica } from '../../../src/colo/machine/replica.ts';
import { StandbyMachine } from '../../../src/colo/machine/standby-machine.ts';
import { GuestFirst, guestTime } from '../../../src/colo/memory/guest-first.ts';
import { PageReceiver } from '../../../src/colo/memory/page-receiver.ts';
import { PageSender } from '../../../src/colo/memory/page-sender.ts';
import { epoch } from '../../../src/colo/protocol/numbers.ts';
import { Doorbell } from '../../../src/host/threads/doorbell.ts';
import { gpa } from '../../../src/memory/address.ts';
import type { Machine } from '../../../src/vmm/machine/machine.ts';
import { noDevices } from '../../../src/vmm/machine/machine-devices.ts';
import { newSharedPackets } from '../../../src/vmm/platform/packet-rings.ts';
import { EpochSeed } from '../../../src/vmm/platform/shared-protection.ts';
import { ramHash, WatchedEpoch } from '../../support/checkpoint-equality.ts';
import { throughFrames } from '../../support/checkpoint-rig.ts';
import { counterAddress, sweeping } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, until, vcpuProgram } from '../../support/machines.ts';
import { drawing, drawn } from '../../support/virtio-guests.ts';

const skip = noKvm();

/** A guest and a standby whose guest may run beside it. */
function pair(t: Test, code: Uint8Array, devices = noDevices) {
  const primary = bootMachine(t, code, { devices });
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  const standby = new StandbyMachine(
    shapeOfMachine(primary),
    { disk: [], net: [] },
    vcpuProgram,
    () => {},
    bell.button,
  );
  t.teardown(() => standby.discard());
  const replica = standby.replica as Replica;
  const open = new WatchedEpoch(primary.ram.memory);
  const seed = new EpochSeed();
  primary.replication.protect({
    epoch: open.storage,
    seed: seed.storage,
    bell: bell.button,
    packets: newSharedPackets(),
    disks: newSharedDisks(2 ** 20),
  });
  const source = new CheckpointSource(primary, open, seed);
  t.teardown(() => source.detach());
  const receiver = new PageReceiver(standby.shared.ram, decodeState, replica.changed);
  t.teardown(() => receiver.close());
  const link = throughFrames((item) => receiver.stage(item));
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: (message) => {
      link(message);
      return true;
    },
  });
  /** As the cores order it: S's guest stands still, and runs from there. */
  const checkpoint = async (n: number, passedMs = 0): Promise<void> => {
    if (n === 0) await sender.livePass(epoch(n));
    replica.park();
    await sender.transmit(epoch(n), source.capture(epoch(n)));
    t.ok(await receiver.load(epoch(n)));
    replica.rollBack();
    t.equal(ramHash(standby.machine.ram.memory), open.ramAtStop.get(n), `RAM at checkpoint ${n}`);
    standby.start(receiver.stateOf(epoch(n)), epoch(n + 1), passedMs);
  };
  return { primary, standby, replica, checkpoint };
}

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
  const { primary, standby, checkpoint } = pair(t, drawing(0), { ...noDevices, rng: { kind: 'host' } });
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
