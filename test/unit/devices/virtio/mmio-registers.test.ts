import { test } from 'tap';
import { MmioRegisters, mmioRegisters } from '../../../../src/devices/virtio/mmio-registers.ts';
import { cell, type MmioState, mmioState, queueCell, status, wish } from '../../../../src/devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';
import { gpa } from '../../../../src/memory/address.ts';
import { bufferedGuestMemory } from '../../../../src/memory/guest-memory.ts';
import { MockDriver } from '../../../support/mock-driver.ts';
import { inThread } from '../../../support/thread.ts';

const shape: VirtioShape = {
  deviceId: 2,
  features: (1n << 5n) | (1n << 40n),
  queueSizes: [256, 64],
  config: Uint8Array.of(0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88),
  writableConfig: [5, 7],
};

interface Rig {
  readonly state: MmioState;
  readonly registers: MmioRegisters;
  readonly driver: MockDriver;
  /** What the io thread was asked, and the queues that were kicked. */
  readonly wishes: number[];
  readonly kicks: number[];
}

function rig(): Rig {
  const state = mmioState(shape);
  const wishes: number[] = [];
  const kicks: number[] = [];
  const registers = new MmioRegisters(state, shape, {
    synchronize: () => wishes.push(state.cells[cell.wish] as number),
    notify: (index) => kicks.push(index),
  });
  const memory = bufferedGuestMemory([{ start: gpa(0), sizeBytes: 1 << 20, offset: 0 }]);
  return { state, registers, driver: new MockDriver(registers, memory), wishes, kicks };
}

const acknowledged = status.acknowledge | status.driver;
const negotiated = acknowledged | status.featuresOk;
const live = negotiated | status.driverOk;

/** Walks to a status as a driver does. */
function walkTo(driver: MockDriver, target: number): void {
  for (const bit of [status.acknowledge, status.driver]) if ((target & bit) !== 0) driver.addStatus(bit);
  if ((target & status.featuresOk) !== 0) {
    driver.setFeatures(1n << 32n);
    driver.addStatus(status.featuresOk);
  }
  if ((target & status.driverOk) !== 0) driver.addStatus(status.driverOk);
}

test('shows what it is to a driver that probes', async (t) => {
  const { registers } = rig();
  t.equal(registers.read(0x000, 4), 0x7472_6976, 'virt');
  t.equal(registers.read(0x004, 4), 2);
  t.equal(registers.read(0x008, 4), 2);
  t.equal(registers.read(0x00c, 4), 0);
  t.equal(registers.read(0x070, 4), 0);
});

test('offers its features and those of every device, and none beyond', async (t) => {
  const { driver } = rig();
  t.equal(driver.offered(), (1n << 5n) | (1n << 40n) | (1n << 28n) | (1n << 29n) | (1n << 32n));
  for (const select of [2, 3, 0xffff_ffff]) {
    driver.write('DeviceFeaturesSel', select);
    t.equal(driver.read('DeviceFeatures'), 0);
  }
});

test('gives the size of each queue, and 0 for a queue that does not exist', async (t) => {
  const { driver } = rig();
  t.strictSame(
    [0, 1, 2, 0x8000_0000, 0xffff_ffff].map((index) => driver.maxSize(index)),
    [256, 64, 0, 0, 0],
  );
});

const allBits = [
  0, 1, 2, 3, 4, 7, 8, 0xa, 0xb, 0xf, 0x40, 0x4b, 0x80, 0x81, 0x83, 0x8b, 0x8f, 0xff, 0x100, 0xffff_ffff,
];
const legal: Readonly<Record<number, readonly number[]>> = {
  0: [1, 0x41, 0x80],
  1: [3, 0x81],
  3: [0xb, 0x4b, 0x83],
  11: [0xf, 0x8b],
  15: [0x8f],
};

for (const [text, moves] of Object.entries(legal)) {
  test(`from status 0x${Number(text).toString(16)} a driver moves on by one step, or gives up`, async (t) => {
    const from = Number(text);
    for (const to of new Set([...allBits, ...moves])) {
      if (to === 0) continue;
      const { driver, wishes } = rig();
      walkTo(driver, from);
      driver.setFeatures(1n << 32n);
      wishes.length = 0;
      driver.write('Status', to);
      const expected = moves.includes(to) ? to & ~status.needsReset : from;
      t.equal(driver.status, expected, `0x${to.toString(16)} leads to 0x${expected.toString(16)}`);
      t.strictSame(wishes, expected === live && from !== live ? [wish.activate] : []);
    }
  });
}

test('asks the io thread for a reset at any status', async (t) => {
  for (const from of [0, 1, 3, 0xb, 0xf]) {
    const { driver, wishes } = rig();
    walkTo(driver, from);
    wishes.length = 0;
    driver.reset();
    t.strictSame(wishes, [wish.reset]);
  }
});

test('goes nowhere after FAILED but to a reset', async (t) => {
  const { driver, wishes } = rig();
  walkTo(driver, 0xb);
  driver.addStatus(status.failed);
  for (const bits of [1, 3, 0xb, 0xf, 0x8f, 0xff]) driver.write('Status', bits);
  t.equal(driver.status, 0x8b);
  t.strictSame(wishes, []);
  driver.reset();
  t.strictSame(wishes, [wish.reset]);
});

test('NEEDS_RESET is not for the driver to set or clear', async (t) => {
  const { state, driver } = rig();
  walkTo(driver, 0xb);
  driver.write('Status', 0x4b);
  t.equal(driver.status, 0xb);
  Atomics.or(state.cells, cell.status, status.needsReset);
  driver.write('Status', 0xf);
  t.equal(driver.status, 0x4f, 'a driver that goes on does not clear it');
});

for (const [statement, choose] of [
  ['without VERSION_1', (driver: MockDriver) => driver.setFeatures(1n << 5n)],
  ['with none at all', () => {}],
  ['with one that is not offered', (driver: MockDriver) => driver.setFeatures((1n << 32n) | (1n << 6n))],
  ['with one that is not offered, of the upper 32', (driver: MockDriver) => driver.setFeatures(3n << 32n)],
  [
    'with one beyond 64',
    (driver: MockDriver) => {
      driver.setFeatures(1n << 32n);
      driver.write('DriverFeaturesSel', 2);
      driver.write('DriverFeatures', 1);
    },
  ],
] as const) {
  test(`refuses features ${statement}`, async (t) => {
    const { driver } = rig();
    walkTo(driver, acknowledged);
    choose(driver);
    driver.addStatus(status.featuresOk);
    t.equal(driver.status, acknowledged, 'FEATURES_OK reads back clear');
  });
}

test('takes any part of the features with VERSION_1', async (t) => {
  for (const more of [0n, 1n << 5n, 1n << 28n, (1n << 40n) | (1n << 29n)]) {
    const { driver } = rig();
    walkTo(driver, acknowledged);
    driver.setFeatures((1n << 32n) | more);
    driver.addStatus(status.featuresOk);
    t.equal(driver.status, negotiated);
  }
});

test('takes features only between DRIVER and FEATURES_OK', async (t) => {
  for (const [at, taken] of [
    [0, false],
    [1, false],
    [acknowledged, true],
    [negotiated, false],
    [live, false],
  ] as const) {
    const { state, driver } = rig();
    walkTo(driver, at);
    driver.setFeatures((1n << 40n) | (1n << 32n) | (1n << 5n));
    t.equal(state.cells[cell.driverFeaturesLow] === 1 << 5, taken, `status 0x${at.toString(16)}`);
    t.equal(((state.cells[cell.driverFeaturesHigh] as number) & (1 << 8)) !== 0, taken);
  }
});

const queueRegisters: readonly (readonly [name: string, index: number])[] = [
  ['QueueNum', queueCell.size],
  ['QueueDescLow', queueCell.descriptorsLow],
  ['QueueDescHigh', queueCell.descriptorsHigh],
  ['QueueDriverLow', queueCell.driverLow],
  ['QueueDriverHigh', queueCell.driverHigh],
  ['QueueDeviceLow', queueCell.deviceLow],
  ['QueueDeviceHigh', queueCell.deviceHigh],
];

for (const [name, index] of queueRegisters) {
  test(`takes ${name} of the selected queue while that is being set up, and not otherwise`, async (t) => {
    for (const [at, taken] of [
      [0, false],
      [acknowledged, false],
      [negotiated, true],
      [live, false],
    ] as const) {
      const { state, driver } = rig();
      walkTo(driver, at);
      driver.write('QueueSel', 1);
      driver.write(name, 0x8000_0040);
      t.equal((state.cells[state.queue(1) + index] as number) >>> 0, taken ? 0x8000_0040 : 0, `0x${at.toString(16)}`);
      t.equal(state.cells[state.queue(0) + index], 0, 'not of another queue');
      driver.write('QueueReady', 1);
      t.equal(driver.read('QueueReady'), taken ? 1 : 0);
      driver.write(name, 7);
      t.not(state.cells[state.queue(1) + index], 7, 'not once it is ready');
    }
  });
}

test('a queue that is not ready again can be set up again', async (t) => {
  const { state, driver } = rig();
  walkTo(driver, negotiated);
  driver.write('QueueReady', 1);
  for (const value of [2, 0, 0xffff_fffe]) {
    driver.write('QueueReady', value);
    t.equal(driver.read('QueueReady'), 0);
  }
  driver.write('QueueNum', 32);
  t.equal(state.cells[state.queue(0) + queueCell.size], 32);
});

test('writes nothing for a queue that does not exist', async (t) => {
  for (const index of [2, 3, 0x7fff_ffff, 0xffff_ffff]) {
    const { state, driver } = rig();
    walkTo(driver, negotiated);
    driver.write('QueueSel', index);
    const before = [...state.cells];
    for (const [name] of queueRegisters) driver.write(name, 0x5a5a_5a5a);
    driver.write('QueueReady', 1);
    t.equal(driver.read('QueueReady'), 0);
    t.strictSame([...state.cells], before);
  }
});

test('tells of kicks at any status, and of none for a queue that does not exist', async (t) => {
  const { driver, kicks } = rig();
  for (const at of [0, live]) {
    walkTo(driver, at);
    for (const value of [0, 1, 2, 0x1_0000, 0xffff_ffff]) driver.write('QueueNotify', value);
  }
  t.strictSame(kicks, [0, 1, 0, 1]);
});

test('acknowledges the interrupts that the driver names', async (t) => {
  const { state, driver } = rig();
  Atomics.store(state.cells, cell.interruptStatus, 3);
  driver.write('InterruptACK', 1);
  t.equal(driver.read('InterruptStatus'), 2);
  driver.write('InterruptACK', 0xffff_fffd);
  t.equal(driver.read('InterruptStatus'), 2);
  driver.write('InterruptACK', 0xffff_ffff);
  t.equal(driver.read('InterruptStatus'), 0);
});

test('reads configuration in every width, little-endian, and 0 beyond its end', async (t) => {
  const { driver } = rig();
  t.equal(driver.readConfig(0, 1), 0x11);
  t.equal(driver.readConfig(1, 2), 0x3322);
  t.equal(driver.readConfig(4, 4), 0x8877_6655);
  t.equal(driver.readConfig(6, 4), 0x8877);
  t.equal(driver.readConfig(8, 4), 0);
  t.equal(driver.readConfig(0xeff, 4), 0);
});

test('takes the bytes of configuration that a driver may write, after DRIVER', async (t) => {
  const { driver, state } = rig();
  driver.writeConfig(4, 4, 0xaabb_ccdd);
  t.equal(driver.readConfig(4, 4), 0x8877_6655, 'nobody has said that it is there');
  walkTo(driver, acknowledged);
  driver.writeConfig(4, 4, 0xaabb_ccdd);
  t.equal(driver.readConfig(4, 4), 0x88bb_cc55);
  driver.writeConfig(5, 1, 0x01);
  driver.writeConfig(6, 2, 0x0302);
  t.equal(driver.readConfig(4, 4), 0x8802_0155);
  driver.writeConfig(0, 4, 0);
  driver.writeConfig(100, 4, 1);
  t.strictSame([...state.config], [0x11, 0x22, 0x33, 0x44, 0x55, 0x01, 0x02, 0x88]);
});

test('has no shared memory and no queue reset', async (t) => {
  const { driver } = rig();
  for (const id of [0, 1]) {
    driver.write('SHMSel', id);
    for (const name of ['SHMLenLow', 'SHMLenHigh', 'SHMBaseLow', 'SHMBaseHigh']) {
      t.equal(driver.read(name), 0xffff_ffff, name);
    }
  }
  driver.write('QueueReset', 1);
  t.equal(driver.read('QueueReset'), 0);
});

test('below the configuration, only whole registers can be accessed', async (t) => {
  const { registers, state } = rig();
  for (const { offset, name } of mmioRegisters) {
    for (const [at, size] of [
      [offset, 1],
      [offset, 2],
      [offset + 1, 4],
      [offset + 2, 2],
      [offset + 3, 4],
    ] as const) {
      const before = [...state.cells];
      registers.write(at, size, 1);
      t.strictSame([...state.cells], before, `${name}: a write of ${size} at 0x${at.toString(16)}`);
      t.equal(registers.read(at, size), 0, `${name}: a read of ${size} at 0x${at.toString(16)}`);
    }
  }
});

test('registers that are none read 0, and those that are read-only or write-only are', async (t) => {
  const { registers, state } = rig();
  for (let offset = 0; offset < 0x100; offset += 4) {
    const register = mmioRegisters.find((one) => one.offset === offset);
    if (register?.read === undefined) t.equal(registers.read(offset, 4), 0, `0x${offset.toString(16)} gives 0`);
    if (register?.write !== undefined) continue;
    const before = [...state.cells];
    registers.write(offset, 4, 0xffff_ffff);
    t.strictSame([...state.cells], before, `0x${offset.toString(16)} takes nothing`);
  }
});

test('loses no interrupt when threads acknowledge and raise at once', { timeout: 120_000 }, async (t) => {
  const state = mmioState(shape);
  const gate = new SharedArrayBuffer(4);
  const module = new URL('./mmio-threads.ts', import.meta.url);
  const [raised, acknowledged] = await Promise.all([
    inThread(module, 'raiseMany', shape, state.storage, gate, 1_000_000),
    inThread(module, 'acknowledgeMany', shape, state.storage, gate),
  ]);
  t.equal(acknowledged, raised, 'what was raised anew was acknowledged once');
});

test('stays sound while several vCPUs write its registers at once', {
  timeout: 120_000,
}, async (t) => {
  const { state, driver } = rig();
  walkTo(driver, negotiated);
  const gate = new SharedArrayBuffer(4);
  const module = new URL('./mmio-threads.ts', import.meta.url);
  const seen = await Promise.all(
    [1, 2].map((thread) => inThread(module, 'hammer', shape, state.storage, gate, thread, 20_000)),
  );
  t.strictSame(seen, [0, 0], 'no read gave what nobody can have written');
  t.equal(Atomics.load(state.cells, cell.lock), 0, 'the lock is free');
});
