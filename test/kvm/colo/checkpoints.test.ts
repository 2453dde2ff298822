import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { differences } from '../../../src/colo/core/pairing.ts';
import { CheckpointSource } from '../../../src/colo/machine/checkpoint-source.ts';
import { decodeState } from '../../../src/colo/machine/checkpoint-state.ts';
import { shapeOfHost, shapeOfMachine } from '../../../src/colo/machine/machine-shapes.ts';
import { StandbyMachine } from '../../../src/colo/machine/standby-machine.ts';
import { GuestFirst, guestTime } from '../../../src/colo/memory/guest-first.ts';
import { PageReceiver } from '../../../src/colo/memory/page-receiver.ts';
import { PageSender } from '../../../src/colo/memory/page-sender.ts';
import { epoch } from '../../../src/colo/protocol/numbers.ts';
import { gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { generationIdAddress } from '../../../src/memory/layout.ts';
import type { DevicesConfig } from '../../../src/vmm/machine/machine-devices.ts';
import { EpochSeed } from '../../../src/vmm/platform/shared-protection.ts';
import { loadedStateHash, ramHash, stateHash, WatchedEpoch } from '../../support/checkpoint-equality.ts';
import { throughFrames } from '../../support/checkpoint-rig.ts';
import { counterAddress, counting, printing, sweeping } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, takeOutput, until, vcpuProgram } from '../../support/machines.ts';
import { hammering } from '../../support/virtio-guests.ts';
import { temporaryFolder } from '../../support/vmm-process.ts';

const skip = noKvm();

function devices(t: Test): DevicesConfig {
  const path = join(temporaryFolder(t), 'disk.img');
  writeFileSync(path, new Uint8Array(MiB));
  return {
    disks: [{ path, readonly: false, direct: false, werror: 'enospc' }],
    nets: [],
    rng: { kind: 'seed', seed: 5 },
  };
}

/** A guest, its standby, and all that lies between them but the network. */
function pair(t: Test, code: Uint8Array) {
  const primary = bootMachine(t, code, { devices: devices(t) });
  const shape = shapeOfMachine(primary);
  const { disks: disk, nets: net } = devices(t);
  t.strictSame(differences(shape, shapeOfHost({ disk, net })), []);
  const standby = new StandbyMachine(JSON.parse(JSON.stringify(shape)), { disk, net }, vcpuProgram);
  t.teardown(() => standby.discard());
  const open = new WatchedEpoch(primary.ram.memory);
  const source = new CheckpointSource(primary, open, new EpochSeed());
  t.teardown(() => source.detach());
  const receiver = new PageReceiver(standby.shared.ram, decodeState);
  t.teardown(() => receiver.close());
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: (() => {
      const link = throughFrames((item) => receiver.stage(item));
      return (message) => {
        link(message);
        return true;
      };
    })(),
  });
  /** As the cores order it. */
  const checkpoint = async (n: number, passes: number): Promise<void> => {
    for (let pass = 0; pass < passes; pass++) t.ok(await sender.livePass(epoch(n)));
    const captured = source.capture(epoch(n));
    t.ok(await sender.transmit(epoch(n), captured));
    t.ok(await receiver.load(epoch(n)));
    t.equal(ramHash(standby.machine.ram.memory), open.ramAtStop.get(n), `RAM at checkpoint ${n}`);
    const state = receiver.stateOf(epoch(n));
    standby.rehearse(state);
    t.equal(ramHash(standby.machine.ram.memory), open.ramAtStop.get(n), 'no load of state changes it');
    t.equal(loadedStateHash(standby.machine, state), stateHash(state), `state at checkpoint ${n}`);
  };
  return { primary, standby, source, sender, receiver, checkpoint };
}

const counterOf = ({ ram }: { readonly ram: StandbyMachine['machine']['ram'] }): number =>
  ram.memory.readU32(gpa(counterAddress));

test('S has RAM and state of P at each stop, live passes or not, and goes on from the last one', {
  skip,
}, async (t) => {
  const { primary, standby, receiver, checkpoint } = pair(t, sweeping(1024, 500));
  for (let n = 0; n < 8; n++) {
    const before = counterOf(primary);
    await until(() => counterOf(primary) > before);
    await checkpoint(n, n === 0 ? 2 : n % 3);
  }
  const at = counterOf(standby.machine);
  const generation = Buffer.from(primary.ram.memory.slice(generationIdAddress, 16));
  primary.stop('the test', 0);
  t.equal(standby.machine.state, 'colo');
  standby.revive(receiver.stateOf(epoch(7)), 12);
  standby.announce();
  t.equal(counterOf(standby.machine), at);
  standby.resume();
  await until(() => counterOf(standby.machine) > at + 20);
  t.equal(standby.machine.state, 'running');
  t.ok(generation.equals(standby.machine.ram.memory.slice(generationIdAddress, 16)), 'it is the same machine');
  standby.machine.pause();
  const pages = Array.from({ length: 500 }, (_, page) =>
    standby.machine.ram.memory.readU32(gpa((1024 + page) * pageSize)),
  );
  t.ok(Math.max(...pages) - Math.min(...pages) <= 1, 'each page was counted in as often');
});

test('a disk at work arrives where it stands', { skip }, async (t) => {
  const { standby, receiver, checkpoint } = pair(t, hammering(''));
  for (let n = 0; n < 5; n++) await checkpoint(n, 1);
  const used = (): number => standby.machine.save().devices[0]?.transport.positions[0]?.nextUsed ?? -1;
  const before = used();
  standby.revive(receiver.stateOf(epoch(4)), 0);
  standby.resume();
  await until(() => {
    standby.machine.pause();
    const now = used();
    standby.machine.resume();
    return now !== before;
  });
});

test('a guest that is paused by its user is captured, and stays paused', { skip }, async (t) => {
  const { primary, checkpoint } = pair(t, counting(true));
  await checkpoint(0, 1);
  primary.pause();
  await checkpoint(1, 0);
  t.equal(primary.state, 'paused');
  primary.resume();
  await checkpoint(2, 1);
  t.equal(primary.state, 'running');
});

test('a guest that has ended is held and captured, and its standby knows that there is nothing to run', {
  skip,
}, async (t) => {
  const { primary, standby, receiver, source, sender, checkpoint } = pair(t, counting(true));
  await checkpoint(0, 1);
  primary.hold();
  const captured = source.capture(epoch(1), 3);
  t.equal(captured.stoppedMs, 0);
  t.equal(primary.state, 'colo');
  await sender.transmit(epoch(1), captured);
  await receiver.load(epoch(1));
  t.equal(standby.revive(receiver.stateOf(epoch(1)), 0).exitCode, 3);
});

test('a machine that has ended is not captured, and the epoch stays open', { skip }, async (t) => {
  const { primary, source } = pair(t, counting(true));
  primary.stop('the test', 0);
  t.throws(() => source.capture(epoch(0)), { code: 'RUN_STATE' });
});

test("the guest's clocks have gone on at a takeover", { skip }, async (t) => {
  const { primary, standby, receiver, checkpoint } = pair(t, counting(true));
  await checkpoint(0, 1);
  primary.pause();
  const state = receiver.stateOf(epoch(0));
  const { clock } = decodeState(state).image;
  standby.revive(state, 5000);
  standby.resume();
  standby.machine.pause();
  const now = standby.machine.save().clock;
  const passedMs = Number(now.kvmclockNs - clock.kvmclockNs) / 1e6;
  t.ok(passedMs >= 5000, `${passedMs} ms`);
  t.ok(passedMs < 15_000, `${passedMs} ms`);
  if (!shapeOfMachine(standby.machine).cpuFeatures.includes('constant_tsc')) return;
  const cyclesMs = Number((now.tsc[0] ?? 0n) - (clock.tsc[0] ?? 0n)) / clock.tscKhz;
  t.ok(Math.abs(cyclesMs - passedMs) < 50, `the TSC has gone as far: ${cyclesMs} ms`);
});

test('what the primary printed is not printed again', { skip }, async (t) => {
  const { primary, standby, receiver, checkpoint } = pair(t, printing('hello, standby'));
  // It powers off as it has printed: what was captured before that is what a standby may have to go on from.
  await until(() => primary.state === 'ended');
  t.equal(takeOutput(primary), 'hello, standby');
  t.equal(takeOutput(standby.machine), '');
  t.equal(standby.machine.state, 'colo');
  t.throws(() => receiver.stateOf(epoch(0)));
  await t.rejects(checkpoint(0, 0), { code: 'RUN_STATE' });
});

test('a standby ends at any time, and another one is made', { skip }, async (t) => {
  const config = devices(t);
  const primary = bootMachine(t, counting(true), { devices: devices(t) });
  const shape = shapeOfMachine(primary);
  for (const wait of [false, true]) {
    const standby = new StandbyMachine(shape, { disk: config.disks, net: [] }, vcpuProgram);
    if (wait) await new Promise((resolve) => setTimeout(resolve, 100));
    await standby.discard();
    await standby.discard();
    t.equal(standby.machine.state, 'ended');
  }
  const held = new StandbyMachine(shape, { disk: config.disks, net: [] }, vcpuProgram);
  held.machine.reset('the monitor');
  held.machine.pressPowerButton();
  t.throws(() => held.resume(), { code: 'RUN_STATE' });
  t.throws(() => held.revive(new Uint8Array(10), 0), { code: 'VM_STATE' });
  t.equal(held.machine.state, 'colo');
  await held.discard();
});

test('a shape that no machine has is refused', { skip }, async (t) => {
  const primary = bootMachine(t, counting(true));
  const shape = shapeOfMachine(primary);
  for (const wrong of [
    { cpus: 0 },
    { memoryBytes: 16 * MiB + 1 },
    { memoryBytes: 4096 },
    { disks: [{ id: 'root', path: 'x', sizeBytes: 512, readOnly: false }] },
    { cards: [{ tap: 'tap0', mac: '02:00:00:00:00:01' }] },
  ]) {
    t.throws(() => new StandbyMachine({ ...shape, ...wrong }, { disk: [], net: [] }, vcpuProgram), {
      code: 'COLO_PROTOCOL',
    });
  }
});
