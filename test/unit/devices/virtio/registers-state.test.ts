import { test } from 'tap';
import { feature, mmioState } from '../../../../src/devices/virtio/mmio-state.ts';
import { checkAlike, loadRegisters, saveRegisters } from '../../../../src/devices/virtio/registers-state.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';

const offload = 0b1100n << 8n;
const shape: VirtioShape = {
  deviceId: 42,
  features: offload | 1n,
  queueSizes: [256, 64],
  earlierQueueSizes: [128, 64],
  config: new Uint8Array(8),
  configured: [
    { features: 1n << 40n, key: 'mtu', offered: 'at 1500', missing: 'out' },
    { features: offload, key: 'offload', offered: 'on', missing: 'off' },
  ],
};

/** What a device saves that was made as this one but for some of its shape. */
const savedBy = (change: Partial<VirtioShape>) => {
  const other = { ...shape, ...change };
  return saveRegisters(mmioState(other), other);
};

test('a device that is made alike can go on, also with the queue sizes of an earlier version', async (t) => {
  t.doesNotThrow(() => checkAlike(savedBy({}), shape));
  t.doesNotThrow(() => checkAlike(savedBy({ queueSizes: [128, 64] }), shape));
});

for (const [what, change, part, reason] of [
  ['another kind of device', { deviceId: 7 }, 'registers.deviceId', 'is 7, and the device here has 42'],
  [
    'a feature that no key is for',
    { features: offload },
    'registers.offeredFeatures',
    'are 0x130000c00, and the device here offers 0x130000c01',
  ],
  [
    'a key that was given',
    { features: shape.features | (1n << 40n) },
    'mtu',
    'was at 1500 when the guest started, and is out here, which a guest cannot be told while it runs: leave it at 1500, or start the guest anew',
  ],
  [
    'a key that was not given',
    { features: 1n },
    'offload',
    'was off when the guest started, and is on here, which a guest cannot be told while it runs: leave it off, or start the guest anew',
  ],
  [
    'queues of other sizes',
    { queueSizes: [12, 864] },
    'registers.queues',
    'have up to 12, 864 entries, and those here 256, 64',
  ],
  ['another number of queues', { queueSizes: [] }, 'registers.queues', 'have up to no entries, and those here 256, 64'],
  [
    'a longer configuration',
    { config: new Uint8Array(9) },
    'registers.config',
    'has 9 bytes, and that of the device here 8',
  ],
] as const) {
  test(`refuses a state with ${what}`, async (t) => {
    let message = '';
    try {
      checkAlike(savedBy(change), shape);
    } catch (error) {
      message = (error as Error).message;
    }
    t.equal(message.slice(0, `${part} ${reason}`.length), `${part} ${reason}`);
  });
}

test('refuses other features and queues also where the device names no keys and had no earlier sizes', async (t) => {
  const { configured: _, earlierQueueSizes: __, ...plain } = shape;
  t.throws(() => checkAlike(savedBy({ features: 0n }), plain), {
    message: /^registers\.offeredFeatures are 0x130000000/,
  });
  t.throws(() => checkAlike(savedBy({ queueSizes: [] }), plain), {
    message: /^registers\.queues have up to no entries/,
  });
});

test('registers that were saved are what another device is loaded with, in all their bits', async (t) => {
  const all = (1n << 64n) - 1n;
  const saved = {
    ...savedBy({}),
    status: 0xcf,
    interruptStatus: 3,
    configGeneration: 0xffff_ffff,
    deviceFeaturesSelect: 0xffff_fffe,
    driverFeaturesSelect: 1,
    driverFeatures: (1n << 63n) | (1n << 31n) | feature.version1,
    driverFeaturesBeyond: 0x8000_0001,
    queueSelect: 0xffff_fffd,
    queues: [
      { maxSize: 128, size: 0xffff_ffff, ready: true, descriptors: all, driver: 1n << 63n, device: 1n << 31n },
      { maxSize: 64, size: 5, ready: false, descriptors: 0x1122_3344_5566_7788n, driver: 2n, device: 3n },
    ],
    config: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 255),
  };
  const state = mmioState(shape);
  loadRegisters(state, saved);
  t.strictSame(saveRegisters(state, shape), saved);
});
