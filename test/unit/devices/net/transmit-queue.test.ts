import { test } from 'tap';
import { feature } from '../../../../src/devices/virtio/mmio-state.ts';
import { EAGAIN, EINVAL } from '../../../../src/host/errno.ts';
import { netRig, packet } from './net-rig.ts';

const plain = feature.version1 | feature.eventIndex;
const longest = 65_562;

/** A packet cut into pieces. */
function pieces(bytes: Uint8Array, ...sizes: number[]): { read: Uint8Array }[] {
  const cuts = sizes.map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + size, 0));
  const parts = cuts.map((start, index) => ({ read: bytes.subarray(start, start + (sizes[index] ?? 0)) }));
  const rest = bytes.subarray(sizes.reduce((sum, size) => sum + size, 0));
  return [...parts, { read: rest }];
}

test('sends packets as they are, cut in any way', async (t) => {
  const rig = netRig(t);
  const bytes = packet(1514, 5);
  bytes.set([1, 1, 54, 0, 180, 5, 34, 0, 16, 0, 0, 0]); // the header is the port's business
  rig.transmit.add([{ read: bytes }]);
  rig.transmit.add(pieces(bytes, 12));
  rig.transmit.add(pieces(bytes, 5, 1, 100, 300), 'indirect');
  rig.transmit.add(pieces(packet(longest), 30_000));
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [bytes, bytes, bytes, packet(longest)]);
  t.strictSame(
    rig.transmit.collect().map(({ length }) => length),
    [0, 0, 0, 0],
  );
  t.equal(rig.counted('sentPackets'), 4);
  t.equal(rig.counted('sentBytes'), 3 * 1502 + longest - 12);
  t.strictSame(rig.troubles(), {});
});

test('drops what is no packet, and what the kernel refuses, and goes on', async (t) => {
  const rig = netRig(t);
  for (const length of [1, 12, 25, longest + 1]) rig.transmit.add([{ read: packet(length) }]);
  rig.transmit.add([{ write: 100 }]);
  rig.driver.kick(1);
  t.strictSame(rig.troubles(), { sendTooShort: 4, sendTooLong: 1 });
  rig.port.writeResult = -EINVAL;
  rig.transmit.add([{ read: packet(100) }]);
  rig.driver.kick(1);
  rig.port.writeResult = 0;
  rig.transmit.add([{ read: packet(26) }, { write: 100 }]);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [packet(26)]);
  t.strictSame(rig.troubles(), { sendTooShort: 4, sendTooLong: 1, sendRefused: 1 });
  t.equal(rig.transmit.collect().length, 7, 'all buffers came back');
  t.equal(rig.counted('sentPackets'), 1);
  t.equal(rig.counted('sentBytes'), 26 - 12);
});

test('keeps a packet that the port cannot take now, and those behind it, in order', async (t) => {
  const rig = netRig(t);
  rig.port.writeResult = -EAGAIN;
  for (let seed = 0; seed < 3; seed++) rig.transmit.add([{ read: packet(100, seed) }]);
  rig.driver.kick(1);
  rig.device.portReady();
  t.equal(rig.device.hasMore, false);
  t.strictSame(rig.transmit.collect(), []);
  rig.port.writeResult = 0;
  rig.device.portReady();
  t.strictSame(rig.port.sent, [packet(100, 0), packet(100, 1), packet(100, 2)]);
  t.equal(rig.transmit.collect().length, 3);
  t.equal(rig.counted('sentPackets'), 3);
  t.equal(rig.counted('sentBytes'), 3 * (100 - 12));
});

test('gives the packet that the port did not take back when it is paused', async (t) => {
  const rig = netRig(t);
  rig.port.writeResult = -EAGAIN;
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  rig.transport.pause();
  t.equal(rig.transport.queues[1]?.position.nextAvail, 0);
  rig.port.writeResult = 0;
  rig.device.portReady();
  t.strictSame(rig.port.sent, []);
  rig.transport.resume();
  t.strictSame(rig.port.sent, [packet(100, 1)]);
});

test('ends a turn after so many packets or bytes, so that others get theirs', async (t) => {
  const rig = netRig(t);
  for (let index = 0; index < 150; index++) rig.transmit.add([{ read: packet(26, index) }]);
  rig.driver.kick(1);
  t.equal(rig.device.hasMore, true);
  t.equal(rig.port.sent.length, 64);
  t.equal(rig.transmit.collect().length, 64, 'and shows its driver what was sent');
  t.equal(rig.work(), 2);
  t.equal(rig.port.sent.length, 150);
  rig.transmit.collect();

  for (let index = 0; index < 40; index++) rig.transmit.add([{ read: packet(longest) }]);
  rig.driver.kick(1);
  t.equal(rig.port.sent.length, 150 + 16);
});

test('wants to be kicked only when it has sent all there is', async (t) => {
  for (const accept of [plain, feature.version1]) {
    const rig = netRig(t, { accept });
    for (let index = 0; index < 100; index++) rig.transmit.add([{ read: packet(26) }]);
    rig.driver.kick(1);
    t.equal(rig.device.hasMore, true);
    rig.transmit.add([{ read: packet(26) }]);
    t.equal(rig.transmit.wantsKick(), false);
    rig.work();
    t.equal(rig.port.sent.length, 101);
    rig.transmit.add([{ read: packet(26) }]);
    t.equal(rig.transmit.wantsKick(), true);
  }
});

test('drops what is sent while the link is down, also what was kept', async (t) => {
  const rig = netRig(t);
  rig.port.writeResult = -EAGAIN;
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  rig.port.writeResult = 0;
  rig.device.setLink(false);
  rig.transmit.add([{ read: packet(100, 2) }]);
  rig.device.portReady();
  rig.device.setLink(true);
  rig.transmit.add([{ read: packet(100, 3) }]);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [packet(100, 3)]);
  t.strictSame(rig.troubles(), { sendLinkDown: 2 });
  t.equal(rig.transmit.collect().length, 3);
});

test('ends a turn when its bytes are reached to the byte', async (t) => {
  const rig = netRig(t);
  for (let index = 0; index < 17; index++) rig.transmit.add([{ read: packet(65_536) }]);
  rig.driver.kick(1);
  t.equal(rig.port.sent.length, 16);
});

test('shows its driver what was sent every 16 packets, and at the end', async (t) => {
  const rig = netRig(t, { accept: feature.version1 });
  const shown: number[] = [];
  const send = rig.port.writev.bind(rig.port);
  rig.port.writev = (address, count) => {
    shown.push(rig.transmit.usedIndex);
    return send(address, count);
  };
  for (let index = 0; index < 40; index++) rig.transmit.add([{ read: packet(26, index) }]);
  rig.driver.kick(1);
  t.strictSame(shown, [...Array(16).fill(0), ...Array(16).fill(16), ...Array(8).fill(32)]);
  t.equal(rig.transmit.usedIndex, 40);
  t.equal(rig.interrupts, 3);
});

test('a packet that waits for the port is not shown as used, those before it are', async (t) => {
  const rig = netRig(t, { accept: feature.version1 });
  const send = rig.port.writev.bind(rig.port);
  let room = 3;
  rig.port.writev = (address, count) => (room-- > 0 ? send(address, count) : -EAGAIN);
  for (let index = 0; index < 5; index++) rig.transmit.add([{ read: packet(26, index) }]);
  rig.driver.kick(1);
  t.equal(rig.transmit.usedIndex, 3);
  t.equal(rig.interrupts, 1);
  room = 1;
  rig.device.portReady();
  t.equal(rig.transmit.usedIndex, 4);
  t.equal(rig.interrupts, 2);
  t.strictSame(
    rig.port.sent,
    [0, 1, 2, 3].map((seed) => packet(26, seed)),
  );
});

test('fails with a ring that is broken, once what came before is sent and shown', async (t) => {
  const rig = netRig(t);
  rig.transmit.add([{ read: packet(100) }]);
  rig.transmit.offer(rig.transmit.size);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [packet(100)]);
  t.equal(rig.transmit.usedIndex, 1);
  t.match(rig.failures, [/names descriptor/]);
  t.equal(rig.device.hasMore, false);
});

test('forgets a packet that waits for the port when it is reset', async (t) => {
  const rig = netRig(t);
  rig.port.writeResult = -EAGAIN;
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  rig.driver.start();
  rig.port.writeResult = 0;
  rig.device.portReady();
  t.strictSame(rig.port.sent, []);
  rig.transmit.add([{ read: packet(100, 2) }]);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [packet(100, 2)]);
  t.equal(rig.transmit.usedIndex, 1);
});
