import { test } from 'tap';
import { netFeature, netShape, tapOffloads } from '../../../../src/devices/net/net-shape.ts';
import { mac } from './net-rig.ts';

const f = netFeature;

test('shows a card with its address, link up, and three queues', async (t) => {
  const shape = netShape({ mac, mtu: 1400, offload: true });
  t.equal(shape.deviceId, 1);
  t.strictSame(shape.queueSizes, [1024, 256, 64]);
  t.strictSame([...shape.config], [...mac, 1, 0, 1, 0, 1400 & 0xff, 1400 >> 8]);
  t.throws(() => netShape({ mac: new Uint8Array(5), offload: true }), RangeError);
});

test('offers the bits of the specification, an MTU only if there is one', async (t) => {
  const bits = (features: bigint) => [...Array(64).keys()].filter((bit) => ((features >> BigInt(bit)) & 1n) === 1n);
  t.strictSame(bits(netShape({ mac, mtu: 9000, offload: true }).features), [
    ...[0, 1, 2, 3, 5, 7, 8, 9, 11, 12, 13],
    ...[15, 16, 17, 18, 21, 23],
  ]);
  t.strictSame(bits(netShape({ mac, offload: false }).features), [5, 15, 16, 17, 18, 21, 23]);
});

test('tells the TAP what the driver takes, and refuses what lacks something it needs', async (t) => {
  t.equal(tapOffloads(0n), 0);
  t.equal(tapOffloads(f.guestChecksum), 1);
  t.equal(tapOffloads(f.guestChecksum | f.guestTso4), 3);
  t.equal(tapOffloads(f.guestChecksum | f.guestTso6), 5);
  t.equal(tapOffloads(f.guestChecksum | f.guestTso4 | f.guestTso6 | f.guestEcn), 15);
  t.equal(tapOffloads(f.guestTso4), undefined);
  t.equal(tapOffloads(f.guestTso6), undefined);
  t.equal(tapOffloads(f.guestChecksum | f.guestEcn), undefined);
});
