import { test } from 'tap';
import { cell, status, wish } from '../../../../src/devices/virtio/mmio-state.ts';
import type { TransportState } from '../../../../src/devices/virtio/transport-state.ts';
import type { VirtioDevice } from '../../../../src/devices/virtio/virtio-device.ts';
import { gpa } from '../../../../src/memory/address.ts';
import { EchoDevice, echoShape } from '../../../support/echo-device.ts';
import { type VirtioRig, virtioRig } from '../../../support/mock-driver.ts';

interface Rig extends VirtioRig {
  readonly device: EchoDevice;
}

/** @param more what the device says as well */
function rig(more: Partial<Pick<VirtioDevice, 'abandoned'>> = {}): Rig {
  const made = virtioRig({
    shape: echoShape,
    device: (host, _config, memory) => Object.assign(new EchoDevice(host, memory), more),
  });
  return Object.defineProperties({ device: made.transport.device }, Object.getOwnPropertyDescriptors(made)) as Rig;
}

/** Has a request in flight in queue 1. */
function hold({ driver }: Rig): void {
  driver.queues[1]?.add([{ write: 1 }]);
  driver.kick(1);
}

/** A rig whose driver did so much, paused. */
const paused = {
  inactive: () => {
    const made = rig();
    made.transport.pause();
    return made;
  },
  active: () => {
    const made = rig();
    made.driver.start();
    made.transport.pause();
    return made;
  },
  failed: () => {
    const made = rig();
    made.driver.start();
    made.transport.fail('a test');
    made.transport.pause();
    return made;
  },
  refused: () => {
    const made = rig();
    made.driver.negotiate();
    made.driver.describe(0, { size: 8, descriptors: gpa(2 ** 40), driver: gpa(0x2000), device: gpa(0x3000) });
    made.driver.finish();
    made.transport.pause();
    return made;
  },
} as const;

for (const [phase, make] of Object.entries(paused)) {
  test(`a device that is ${phase} is so wherever it is loaded, and until its driver resets it`, async (t) => {
    const state = make().transport.save();
    t.equal(state.phase, phase);
    for (const other of Object.values(paused)) {
      const next = other();
      next.transport.prepareLoad(state)();
      t.strictSame(next.transport.save(), state);
      t.equal(next.transport.queues.length, phase === 'active' ? 2 : 0);
      const before = next.device.kicks;
      next.transport.resume();
      next.transport.kicked(0);
      t.equal(next.device.kicks > before, phase === 'active');
      next.driver.start();
      t.equal(next.driver.status, 0xf, 'a reset makes it as new');
    }
  });
}

for (const [what, spoil, message] of [
  ['runs', ({ transport }: Rig) => transport.resume(), 'a device that is not paused and quiet is saved or loaded'],
  [
    'writes guest memory',
    (parts: Rig) => {
      parts.transport.resume();
      hold(parts);
      parts.transport.pause();
    },
    'a device that is not paused and quiet is saved or loaded',
  ],
  [
    'has not done what its driver wants',
    ({ state }: Rig) => Atomics.store(state.cells, cell.wish, wish.reset),
    'a device is saved or loaded whose driver waits for an activation or a reset',
  ],
] as const) {
  test(`is neither saved nor loaded while it ${what}`, async (t) => {
    const parts = paused.active();
    const state = parts.transport.save();
    spoil(parts);
    t.throws(() => parts.transport.save(), { message });
    t.throws(() => parts.transport.prepareLoad(state), { message });
  });
}

const at = (nextAvail: number) => ({ nextAvail, nextUsed: nextAvail, signalled: nextAvail });

for (const [what, change, message] of [
  [
    'a position too few',
    ({ positions }: TransportState) => ({ positions: positions.slice(1) }),
    'positions are 1, and 2 queues are in use',
  ],
  [
    'positions of a device that is not active',
    ({ registers }: TransportState) => ({
      phase: 'inactive' as const,
      registers: { ...registers, status: status.acknowledge },
    }),
    'positions are 2, and 0 queues are in use',
  ],
  [
    'a queue that is used and was never set up',
    ({ registers }: TransportState) => ({
      registers: { ...registers, queues: registers.queues.map((queue) => ({ ...queue, ready: false })) },
      positions: [at(0), at(5)],
    }),
    'registers.queues do not make queues: queue 1 was never used, and its avail is 5',
  ],
  [
    'a queue that is not in RAM',
    ({ registers }: TransportState) => ({
      registers: { ...registers, queues: registers.queues.map((queue) => ({ ...queue, device: 1n << 40n })) },
    }),
    /^registers\.queues do not make queues: queue 0: the used ring .* is not in RAM/,
  ],
  [
    'a queue that stands where none can',
    () => ({ positions: [at(0), { nextAvail: 9, nextUsed: 0, signalled: 0 }] }),
    /^registers\.queues do not make queues: a queue of 8 entries cannot stand at avail 9, used 0, signalled 0/,
  ],
] as const) {
  test(`refuses a state with ${what}, and is as it was`, async (t) => {
    const { transport } = paused.active();
    const state = transport.save();
    t.throws(() => transport.prepareLoad({ ...state, ...change(state) } as TransportState), {
      code: 'VM_STATE',
      message,
    });
    t.strictSame(transport.save(), state);
  });
}

test('a queue that was never set up is loaded as such', async (t) => {
  const { transport, driver, device } = rig();
  driver.negotiate();
  driver.setUpQueue(1);
  driver.finish();
  transport.pause();
  const state = transport.save();
  t.strictSame(state.positions, [at(0), at(0)]);
  transport.prepareLoad(state)();
  transport.resume();
  driver.kick(0);
  t.equal(device.popped, 0);
});

for (const [phase, make] of Object.entries(paused)) {
  test(`a device that is ${phase} is as new after a reset of the machine, paused, whatever its driver wanted`, async (t) => {
    const parts = make();
    const { transport, driver, device, state } = parts;
    const fresh = paused.inactive().transport.save();
    const hears = phase === 'active' || phase === 'failed';
    driver.write('QueueSel', 1);
    Atomics.store(state.cells, cell.wish, wish.activate);
    const { length } = device.calls;
    t.equal(transport.powerCycle(), false, 'nothing is in flight');
    t.strictSame(device.calls.slice(length), hears ? ['reset'] : [], 'who was never activated hears of no reset');
    const { registers, ...rest } = transport.save();
    const { configGeneration } = registers;
    t.strictSame({ ...rest, registers: { ...registers, configGeneration: 0 } }, fresh);
    t.ok(configGeneration <= 1);
    t.strictSame(transport.queues, []);
    transport.resume();
    driver.start();
    t.equal(driver.status, 0xf);
    driver.queues[0]?.add([{ write: 1 }]);
    driver.kick(0);
    t.equal(device.popped, 1);
  });
}

test('a reset of the machine tells of requests that are in flight still, and not of those from before another', async (t) => {
  for (const [abandoned, strands] of [
    [undefined, true],
    [0, true],
    [1, false],
  ] as const) {
    const parts = rig(abandoned === undefined ? {} : { abandoned });
    parts.driver.start();
    hold(parts);
    parts.transport.pause();
    t.equal(parts.transport.abandoned, abandoned ?? 0);
    t.equal(parts.transport.powerCycle(), strands);
  }
});

test('a device that runs is not reset with the machine', async (t) => {
  const { transport, driver } = rig();
  driver.start();
  t.throws(() => transport.powerCycle(), { message: 'a device that is not paused is reset' });
  t.equal(driver.status, 0xf);
});

test('a driver resets a device that failed, once nothing is in flight', async (t) => {
  const parts = rig();
  parts.driver.start();
  hold(parts);
  parts.transport.fail('a test');
  parts.driver.reset();
  t.equal(parts.transport.settle(), false);
  parts.device.release();
  t.equal(parts.transport.settle(), true);
  t.strictSame(parts.device.calls, ['activate', 'pause', 'reset']);
});
