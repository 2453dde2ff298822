import { test } from 'tap';
import { checkConfig, checkNothingTaken, ofKind } from '../../../../src/devices/virtio/device-state.ts';
import type { Virtqueue } from '../../../../src/devices/virtio/virtqueue.ts';

test('a state is of the kind of device that it is loaded into', async (t) => {
  const state = { kind: 'net' as const, version: 1 as const };
  t.equal(ofKind(state, 'net'), state);
  t.throws(() => ofKind(state, 'block'), {
    code: 'VM_STATE',
    part: 'device.kind',
    message: /is net, and the device here is block/,
  });
});

const queueAt = (nextAvail: number, nextUsed = nextAvail, signalled = nextUsed): Virtqueue =>
  ({ position: { nextAvail, nextUsed, signalled } }) as Virtqueue;

test('a queue of which nothing is taken is in order, wherever it is', async (t) => {
  t.doesNotThrow(() => checkNothingTaken([]));
  t.doesNotThrow(() => checkNothingTaken([queueAt(0), queueAt(17), queueAt(0xffff)]));
});

for (const [what, queue, reason] of [
  ['holds a request', queueAt(8, 7), /cannot be avail 8, used 7, signalled 7 where the device holds no requests/],
  ['has not told of one', queueAt(8, 8, 7), /cannot be avail 8, used 8, signalled 7 where/],
  ['has told of more than was used', queueAt(8, 7, 8), /cannot be avail 8, used 7, signalled 8 where/],
] as const) {
  test(`refuses a queue that ${what}, and says which`, async (t) => {
    t.throws(() => checkNothingTaken([queueAt(3), queue, queueAt(4)]), {
      code: 'VM_STATE',
      part: 'positions[1]',
      message: reason,
    });
  });
}

const fields = { capacity: 0, status: 4, pairs: 6 };
const here = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

/** The field that a configuration is refused for, whose byte `at` is another one. */
function refused(at: number, changing: readonly [number, number]): string | undefined {
  const saved = new Uint8Array(here);
  saved[at] = 99;
  try {
    checkConfig(saved, here, fields, changing);
    return undefined;
  } catch (error) {
    const { code, part, message } = error as { code: string; part: string; message: string };
    if (code !== 'VM_STATE' || !message.includes('is not what it is of the device here')) throw error;
    return part;
  }
}

test('a configuration is that of the device here, byte by byte, and the field that is not is named', async (t) => {
  checkConfig(here, here, fields, [0, 0]);
  t.strictSame(
    Array.from(here, (_, at) => refused(at, [0, 0])),
    [
      ...new Array(4).fill('registers.config.capacity'),
      ...new Array(2).fill('registers.config.status'),
      ...new Array(2).fill('registers.config.pairs'),
    ],
  );
});

test('bytes that change as a device runs may be others, and only those', async (t) => {
  t.strictSame(
    Array.from(here, (_, at) => refused(at, [4, 6]) === undefined),
    [false, false, false, false, true, true, false, false],
  );
});
