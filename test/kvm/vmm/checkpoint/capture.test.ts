import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import { CheckpointedMemory } from '../../../../src/memory/checkpointed-memory.ts';
import type { Checkpoint, CheckpointArea } from '../../../../src/vmm/checkpoint/checkpoint.ts';
import { checkIoDeviceStates } from '../../../../src/vmm/io/io-device-state-schema.ts';
import { Machine } from '../../../../src/vmm/machine/machine.ts';
import { type DevicesConfig, noDevices } from '../../../../src/vmm/machine/machine-devices.ts';
import { machineStateOf } from '../../../../src/vmm/vmstate/image-state.ts';
import { StateImage } from '../../../../src/vmm/vmstate/state-image.ts';
import { counterAddress, counting, crowd, spinning } from '../../../support/guests.ts';
import { noKvm } from '../../../support/kvm.ts';
import { bootMachine, until, vcpuProgram } from '../../../support/machines.ts';
import { hammering } from '../../../support/virtio-guests.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';
import { copyRam, fingerprint, withoutExceptions } from '../../../support/vmstate.ts';

const skip = noKvm();
const counter = (machine: Machine): number => machine.ram.memory.readU32(gpa(counterAddress));

/** A disk and a source of entropy, so that there is an io thread. */
function devices(t: Test): DevicesConfig {
  const path = join(temporaryFolder(t), 'disk.img');
  writeFileSync(path, new Uint8Array(MiB));
  return {
    disks: [{ path, readonly: false, direct: false, werror: 'enospc' }],
    nets: [],
    rng: { kind: 'host' },
  };
}

function areaOf(t: Test, machine: Machine): CheckpointArea {
  const area = machine.checkpointArea(16);
  t.teardown(() => area.close());
  return area;
}

/** A machine that holds nothing but what it will be given, in colo's hands. */
function standby(t: Test, config: DevicesConfig, ram?: CheckpointedMemory): Machine {
  const shape = { cpus: 1, memoryBytes: 16 * MiB, cpuMask: [], devices: config };
  const machine = new Machine(ram === undefined ? shape : { ...shape, ram }, vcpuProgram);
  t.teardown(() => machine.close());
  machine.hold();
  return machine;
}

/** A checkpoint as a peer gets it: its own bytes, checked as a stranger's. */
function received({ pages, image, own, devices: states }: Checkpoint): Checkpoint {
  return {
    pages,
    image: StateImage.from(Uint8Array.from(image.bytes)),
    own,
    devices: checkIoDeviceStates(structuredClone(states)),
  };
}

for (const withDevices of [false, true]) {
  const how = withDevices ? 'with devices' : 'without devices';

  test(`a checkpoint has the pages that changed since the last one, and the state (${how})`, { skip }, async (t) => {
    const machine = bootMachine(t, counting(false), { devices: withDevices ? devices(t) : noDevices });
    const area = areaOf(t, machine);
    for (let round = 0; round < 20; round++) {
      const before = counter(machine);
      await until(() => counter(machine) > before);
      const { pages } = machine.capture(area);
      t.ok([...pages.numbers.subarray(0, pages.count)].includes(counterAddress / pageSize), 'the page it counts in');
      t.ok(pages.count < 50, `and few others: ${pages.count}`);
      t.equal(machine.state, 'running');
    }
    machine.pause();
    const { image, own, devices: states } = machine.capture(area);
    const saved = machine.save();
    t.strictSame(
      withoutExceptions({ ...machineStateOf(image, own, states), clock: saved.clock }),
      withoutExceptions(saved),
      'what a save tells',
    );
    t.equal(machine.state, 'paused', 'a machine that was paused stays so');
  });
}

test('checkpoints that follow one on another find every thread where it was told to be', { skip }, async (t) => {
  const machine = bootMachine(t, counting(true), { devices: devices(t) });
  const area = areaOf(t, machine);
  for (let round = 0; round < 300; round++) {
    const { devices: states } = machine.capture(area);
    if (states.length !== 2) t.fail(`the states of ${states.length} devices in round ${round}`);
    if (round % 10 === 0) await new Promise(setImmediate);
  }
  t.equal(machine.state, 'running');
});

test('a standby that was given every checkpoint goes on where the last one was taken', { skip }, async (t) => {
  const config = devices(t);
  const primary = bootMachine(t, counting(true), { devices: config });
  const area = areaOf(t, primary);
  const secondary = standby(t, devices(t));
  primary.pause();
  copyRam(primary, secondary);
  secondary.apply(received(primary.capture(area)));
  primary.resume();
  for (let round = 0; round < 10; round++) {
    const before = counter(primary);
    await until(() => counter(primary) > before);
    primary.pause();
    const checkpoint = primary.capture(area);
    secondary.apply(received(checkpoint));
    t.equal(fingerprint(secondary), fingerprint(primary), 'RAM and state are the same, bit for bit');
    primary.resume();
  }
  const at = counter(secondary);
  primary.stop('the test', 0);
  t.equal(secondary.state, 'colo');
  secondary.release();
  await until(() => counter(secondary) > at + 50);
  t.equal(secondary.state, 'running');
});

test('a standby whose RAM can go back takes checkpoints as any other', { skip }, async (t) => {
  const primary = bootMachine(t, counting(true));
  const area = areaOf(t, primary);
  const ram = new CheckpointedMemory(16 * MiB);
  const secondary = standby(t, noDevices, ram);
  primary.pause();
  ram.write(0, primary.ram.memory.slice(gpa(0), 16 * MiB));
  secondary.apply(received(primary.capture(area)));
  primary.resume();
  const before = counter(primary);
  await until(() => counter(primary) > before);
  primary.pause();
  secondary.apply(received(primary.capture(area)));
  t.equal(fingerprint(secondary), fingerprint(primary));
  const at = counter(secondary);
  secondary.release();
  await until(() => counter(secondary) > at + 50);
});

test('a machine in the hands of fault tolerance is resumed by nobody else', { skip }, async (t) => {
  const machine = bootMachine(t, spinning());
  machine.hold();
  t.equal(machine.state, 'colo');
  for (const refused of [() => machine.resume(), () => machine.pause(), () => machine.whilePaused(() => {})]) {
    t.throws(refused, { code: 'RUN_STATE' });
  }
  t.equal(machine.state, 'colo');
  machine.release();
  t.equal(machine.state, 'running');
  t.throws(() => machine.release(), { code: 'RUN_STATE' });
});

test('a machine with nothing in it yet is not released', { skip }, async (t) => {
  const machine = standby(t, noDevices);
  t.throws(() => machine.release(), { code: 'RUN_STATE' });
});

test('a checkpoint that does not fit is refused, and the machine is as it was', { skip }, async (t) => {
  const machine = bootMachine(t, counting(true));
  const area = areaOf(t, machine);
  const other = bootMachine(t, crowd(2), { cpus: 2 });
  machine.pause();
  const fitting = received(machine.capture(area));
  other.pause();
  const foreign = received(other.capture(areaOf(t, other)));
  const before = fingerprint(machine);
  t.throws(() => machine.apply(foreign), { code: 'VM_STATE', message: /vcpus are 2, and the machine here has 1/ });
  const smaller = StateImage.from(Uint8Array.from(fitting.image.bytes));
  smaller.memoryBytes = 4096;
  t.throws(() => machine.apply({ ...fitting, image: smaller }), { code: 'VM_STATE', message: /memoryBytes is 4096/ });
  const wrongEfer = StateImage.from(Uint8Array.from(fitting.image.bytes));
  wrongEfer.vcpuBytes(0, 'sregs').fill(0xff);
  t.throws(() => machine.apply({ ...fitting, image: wrongEfer }), { code: 'VM_STATE', message: /sregs is refused/ });
  t.equal(fingerprint(machine), before);
  const saved = counter(machine);
  machine.resume();
  await until(() => counter(machine) > saved + 20);
});

test('checkpoints show a disk at work where it stands', { skip }, async (t) => {
  const machine = bootMachine(t, hammering(''), { devices: devices(t) });
  const area = areaOf(t, machine);
  const disk = () => checkIoDeviceStates(structuredClone(machine.capture(area).devices))[0]?.transport;
  await until(() => disk()?.phase === 'active');
  const [first] = disk()?.positions ?? [];
  await until(() => disk()?.positions[0]?.nextUsed !== first?.nextUsed);
  t.equal(machine.state, 'running');
});
