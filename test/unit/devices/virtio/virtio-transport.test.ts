import { test } from 'tap';
import { cell, feature, status, wish } from '../../../../src/devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';
import type { QueueSetup } from '../../../../src/devices/virtio/virtqueue.ts';
import { gpa } from '../../../../src/memory/address.ts';
import { EchoDevice, echoShape } from '../../../support/echo-device.ts';
import { type VirtioRig, virtioRig } from '../../../support/mock-driver.ts';

interface Rig extends VirtioRig {
  readonly device: EchoDevice;
}

function rig(shape: VirtioShape = echoShape): Rig {
  const made = virtioRig({ shape, device: (host, _config, memory) => new EchoDevice(host, memory, shape) });
  return Object.defineProperties({ device: made.transport.device }, Object.getOwnPropertyDescriptors(made)) as Rig;
}

/** Adds a request to a queue; its head. */
function add({ driver }: Rig, index: number): number {
  return driver.queues[index]?.add([{ read: Uint8Array.of(7) }, { write: 1 }]) ?? -1;
}

test('activates the device with its queues and what was agreed on', async (t) => {
  const { driver, device, transport } = rig();
  driver.negotiate((1n << 5n) | feature.version1);
  driver.setUpQueue(0, 4);
  driver.setUpQueue(1);
  t.strictSame(device.calls, [], 'not before DRIVER_OK');
  driver.finish();
  t.strictSame(device.calls, ['activate']);
  t.equal(device.features, (1n << 5n) | feature.version1);
  t.strictSame(
    transport.queues.map((queue) => queue.size),
    [4, 8],
  );
  t.equal(driver.status, 0xf);
});

test('hands on features of all 64 bits', async (t) => {
  const features = (1n << 63n) | (1n << 57n) | (1n << 31n) | 1n;
  const { driver, device } = rig({ ...echoShape, features });
  driver.start();
  t.equal(device.features, features | feature.version1 | feature.eventIndex | feature.indirectDescriptors);
});

test('uses indirect descriptors and event index only if they were agreed on', async (t) => {
  const parts = rig();
  parts.driver.start(feature.version1);
  parts.driver.queues[0]?.add([{ read: Uint8Array.of(7) }], 'indirect');
  parts.driver.kick(0);
  t.match(parts.failures, [/^an indirect descriptor was not agreed on/]);

  for (const [accept, interrupts] of [
    [feature.version1, 1],
    [feature.version1 | feature.eventIndex, 0],
  ] as const) {
    const other = rig();
    other.driver.start(accept);
    other.driver.queues[0]?.setUsedEvent(5);
    add(other, 0);
    other.driver.kick(0);
    t.equal(other.interrupts, interrupts);
  }
});

test('gives the device empty queues for those that the driver does not set up', async (t) => {
  const parts = rig();
  parts.driver.negotiate();
  parts.driver.setUpQueue(1);
  parts.driver.finish();
  parts.transport.kicked(0);
  t.equal(parts.device.popped, 0);
  add(parts, 1);
  parts.driver.kick(1);
  t.equal(parts.device.popped, 1);
  t.strictSame(parts.failures, []);
});

const setup: QueueSetup = { size: 8, descriptors: gpa(0x1000), driver: gpa(0x2000), device: gpa(0x3000) };
for (const [statement, reason, change] of [
  ['no size', /queue 1: a queue cannot have 0 entries/, { size: 0 }],
  ['more entries than it may have', /queue 1: 16 entries are more than 8/, { size: 16 }],
  ['rings outside RAM', /queue 1: the used ring .* is not in RAM/, { device: gpa(2 ** 45) }],
  ['rings at the end of addresses', /queue 1: the avail ring .* is not in RAM/, { driver: gpa(2 ** 64 - 2048) }],
  ['rings that are not aligned', /queue 1: the descriptor table .* is not aligned/, { descriptors: gpa(0x1004) }],
] as const) {
  test(`refuses to start with a queue of ${statement}, and is as new after a reset`, async (t) => {
    const parts = rig();
    const { driver, device, transport } = parts;
    driver.negotiate();
    driver.setUpQueue(0);
    driver.describe(1, { ...setup, ...change });
    driver.finish();
    t.match(parts.failures, [reason]);
    t.equal(driver.status, 0xf | status.needsReset);
    t.equal(driver.acknowledgeInterrupt(), 2);
    t.strictSame(device.calls, [], 'the device hears nothing');
    transport.kicked(0);
    transport.pause();
    transport.resume();

    driver.start();
    t.equal(driver.status, 0xf);
    t.strictSame(device.calls, ['activate'], 'nor of the reset');
    add(parts, 0);
    driver.kick(0);
    t.equal(device.popped, 1);
  });
}

test('sets the interrupt status before it raises the interrupt', async (t) => {
  const seen: number[] = [];
  const watched: VirtioRig = virtioRig({
    shape: echoShape,
    device: (host, _config, memory) => new EchoDevice(host, memory),
    onInterrupt: () => seen.push(watched.state.cells[cell.interruptStatus] as number),
  });
  watched.driver.start();
  watched.transport.interruptQueue();
  watched.transport.interruptConfig();
  t.strictSame(seen, [1, 3]);
});

test('interrupts each time, whether or not the driver acknowledged the last one', async (t) => {
  const parts = rig();
  parts.driver.start();
  parts.transport.interruptQueue();
  parts.transport.interruptQueue();
  t.equal(parts.interrupts, 2, 'an acknowledgement may have stayed in the kernel');
  parts.transport.interruptConfig();
  t.equal(parts.interrupts, 3);
  t.equal(parts.driver.acknowledgeInterrupt(), 3);
  parts.transport.interruptQueue();
  t.equal(parts.interrupts, 4);
});

test('counts the configuration on with each change, and interrupts only a driver that runs', async (t) => {
  const parts = rig();
  const { driver, transport } = parts;
  const generation = driver.read('ConfigGeneration');
  driver.negotiate();
  transport.interruptConfig();
  t.equal(driver.read('ConfigGeneration'), generation + 1);
  t.equal(parts.interrupts, 0);
  driver.setUpQueues();
  driver.finish();
  transport.interruptConfig();
  t.equal(driver.read('ConfigGeneration'), generation + 2);
  t.equal(parts.interrupts, 1);
  driver.reset();
  t.equal(driver.read('ConfigGeneration'), generation + 2, 'a reset does not count back');
});

test('a device that fails is paused, asks for a reset, and tells why once', async (t) => {
  const parts = rig();
  const { driver, device, transport } = parts;
  driver.start();
  driver.queues[0]?.offer(99);
  driver.kick(0);
  transport.fail('again');
  t.match(parts.failures, [/names descriptor 99/]);
  t.equal(transport.failures, 1);
  t.strictSame(device.calls, ['activate', 'pause']);
  t.equal(driver.status, 0xf | status.needsReset);
  t.equal(driver.acknowledgeInterrupt(), 2);

  add(parts, 1);
  transport.kicked(1);
  transport.pause();
  transport.resume();
  t.equal(device.popped, 0, 'no other queue is served');
  t.strictSame(device.calls, ['activate', 'pause'], 'a machine that goes on does not wake it');

  driver.start();
  driver.queues[0]?.offer(99);
  driver.kick(0);
  t.equal(parts.failures.length, 2, 'in its next life it may fail again');
});

test('a reset waits for requests in flight, and answers to them are still given', async (t) => {
  const parts = rig();
  const { driver, device, transport, state } = parts;
  driver.start();
  add(parts, 1);
  const queue = driver.queues[1];
  driver.kick(1);
  t.equal(transport.idle, false);

  driver.reset();
  t.equal(state.cells[cell.wish], wish.reset);
  t.equal(driver.status, 0xf, 'the status says so as well');
  t.equal(transport.settle(), false);
  transport.kicked(1);
  transport.fail('too late to matter');
  t.strictSame(device.calls, ['activate', 'pause']);
  t.strictSame(parts.failures, []);

  device.release();
  t.equal(queue?.usedIndex, 1);
  t.equal(transport.settle(), true);
  t.strictSame(device.calls, ['activate', 'pause', 'reset']);
  t.equal(driver.status, 0);
  t.equal(transport.settle(), true, 'there is nothing left to do');
});

test('a reset clears the registers, and what the driver wrote of the configuration', async (t) => {
  const parts = rig();
  const { driver, transport, state } = parts;
  const fresh = [...rig().state.cells];
  driver.start();
  driver.writeConfig(4, 2, 0xbeef);
  state.config[0] = 99; // the device's own bytes stay
  for (const name of ['DeviceFeaturesSel', 'DriverFeaturesSel', 'QueueSel']) driver.write(name, 1);
  transport.interruptQueue();
  driver.reset();
  const cells = [...state.cells];
  cells[cell.configGeneration] = fresh[cell.configGeneration] as number;
  t.strictSame(cells, fresh);
  t.strictSame([...state.config], [99, 2, 3, 4, 5, 6, 7, 8]);
  t.strictSame(transport.queues, []);
});

test('serves kicks only while the device is active', async (t) => {
  const parts = rig();
  const { driver, device, transport } = parts;
  for (const index of [0, 1, 2, 1000, -1, 0.5, Number.NaN]) transport.kicked(index);
  t.equal(device.kicks, 0);
  driver.start();
  t.equal(device.kicks, 2, 'one for each queue: there may have been some before');
  for (const index of [2, 1000, -1, 0.5, Number.NaN]) transport.kicked(index);
  add(parts, 0);
  transport.pause();
  transport.kicked(0);
  t.equal(device.kicks, 2);
  transport.resume();
  t.equal(device.popped, 1, 'what waited is served without another kick');
});

test('a device that is activated while the machine is paused waits for it to go on', async (t) => {
  const parts = rig();
  const { driver, device, transport } = parts;
  transport.pause();
  driver.negotiate();
  driver.setUpQueues();
  add(parts, 0);
  driver.finish();
  t.strictSame(device.calls, ['activate', 'pause']);
  t.equal(device.popped, 0);
  transport.resume();
  t.equal(device.popped, 1);
});

test('closes its device', async (t) => {
  const { transport, device } = rig();
  transport.close();
  t.strictSame(device.calls, ['close']);
});
