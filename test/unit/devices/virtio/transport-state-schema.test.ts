import { test } from 'tap';
import { checkTransportState } from '../../../../src/devices/virtio/transport-state-schema.ts';
import { VmStateError } from '../../../../src/devices/vm-state-error.ts';

const queue = { maxSize: 0xffff, size: 8, ready: true, descriptors: 0n, driver: 1n, device: (1n << 64n) - 1n };
const registers = {
  deviceId: 42,
  offeredFeatures: 1n << 63n,
  status: 0xff,
  interruptStatus: 3,
  configGeneration: 0xffff_ffff,
  deviceFeaturesSelect: 0,
  driverFeaturesSelect: 0,
  driverFeatures: 0n,
  driverFeaturesBeyond: 0,
  queueSelect: 0,
  queues: new Array(64).fill(queue),
  config: new Uint8Array(4096),
};
const state = {
  version: 1,
  phase: 'active',
  registers,
  positions: new Array(64).fill({ nextAvail: 0xffff, nextUsed: 0, signalled: 1 }),
  device: { kind: 'echo', more: [1] },
};

/** Takes whatever is of its kind, and adds what it has looked at. */
const kinds = { echo: (value: unknown) => ({ kind: 'echo', version: 1, checked: value }) };

test('takes the state of a device, and has the check of its kind look at the device itself', async (t) => {
  t.strictSame(checkTransportState(state, kinds), {
    ...state,
    device: { kind: 'echo', version: 1, checked: state.device },
  });
});

for (const phase of ['inactive', 'active', 'failed', 'refused'] as const) {
  test(`takes a device that is ${phase}`, async (t) => {
    t.equal(checkTransportState({ ...state, phase }, kinds).phase, phase);
  });
}

const long = 'x'.repeat(100);
for (const [what, value, message] of [
  ['what is no state', 7, /^state is no record of named fields/],
  ['a newer version', { ...state, version: 2 }, /^state was written by a newer version of colo-vmm/],
  ['a version that never was', { ...state, version: 0 }, /^state\.version is no version/],
  ['a device whose reset is not over', { ...state, phase: 'resetting' }, /^state\.phase is no phase/],
  ['a device that is no record', { ...state, device: 7 }, /^state\.device is no record of named fields/],
  ['a kind that is no name', { ...state, device: { kind: 7 } }, /^state\.device\.kind is no name/],
  [
    'a kind that nobody knows',
    { ...state, device: { kind: 'mouse' } },
    /\.device\.kind is "mouse", which is no device/,
  ],
  ['a kind that only objects have', { ...state, device: { kind: 'toString' } }, /is "toString", which is no device/],
  ['a kind without end', { ...state, device: { kind: long } }, /is "x{40}", which is no device/],
  [
    'a register that is too large',
    { ...state, registers: { ...registers, status: 256 } },
    /^state\.registers\.status is no number from 0 to 255/,
  ],
  [
    'more queues than any device has',
    { ...state, registers: { ...registers, queues: new Array(65).fill(queue) } },
    /^state\.registers\.queues has 65 entries and may have 64/,
  ],
  [
    'a queue without a field',
    { ...state, registers: { ...registers, queues: [queue, { ...queue, driver: undefined }] } },
    /^state\.registers\.queues\[1\]\.driver is no number of 64 bits/,
  ],
  [
    'more configuration than any device has',
    { ...state, registers: { ...registers, config: new Uint8Array(4097) } },
    /^state\.registers\.config has 4097 bytes and may have 4096/,
  ],
  [
    'a position that is none',
    { ...state, positions: [{ nextAvail: 65_536, nextUsed: 0, signalled: 0 }] },
    /^state\.positions\[0\]\.nextAvail is no number from 0 to 65535/,
  ],
] as const) {
  test(`refuses ${what}`, async (t) => {
    t.throws(() => checkTransportState(value, kinds), { code: 'VM_STATE', message });
  });
}

test('says what the check of a kind says', async (t) => {
  const strict = {
    echo: (): never => {
      throw new VmStateError('device.version', 'is no version');
    },
  };
  t.throws(() => checkTransportState(state, strict), { message: /^device\.version is no version/ });
});
