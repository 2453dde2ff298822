import { readdirSync, readlinkSync } from 'node:fs';
import { test } from 'tap';
import { netFeature } from '../../../../src/devices/net/net-shape.ts';
import { feature } from '../../../../src/devices/virtio/mmio-state.ts';
import { EINTR } from '../../../../src/host/errno.ts';
import { type NetRig, netRig, packet } from './net-rig.ts';

const offloads = netFeature.guestChecksum | netFeature.guestTso4;
const plain = feature.version1 | feature.eventIndex | netFeature.mergeableBuffers;
const single = feature.version1 | feature.eventIndex;
const longest = 65_562;

function addBuffers(rig: NetRig, count: number, bytes = 1530): void {
  for (let index = 0; index < count; index++) rig.receive.add([{ write: bytes }]);
}

/** Bytes of each buffer that the driver got. */
const lengths = (rig: NetRig): number[] => rig.receive.collect().map(({ length }) => length);

/** Has the port answer its next reads with these instead. */
function answer({ port }: NetRig, ...results: number[]): void {
  const readv = port.readv.bind(port);
  port.readv = (address, count) => results.shift() ?? readv(address, count);
}

test('asks a port again that was interrupted, which is no error and no end of packets', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig, 3);
  answer(rig, -EINTR, -EINTR);
  rig.arrive(packet(100), packet(101));
  t.strictSame(lengths(rig), [100, 101]);
  t.strictSame(rig.troubles(), {});
});

for (const linkUp of [true, false]) {
  test(`a port that reads nothing has no packets, with the link ${linkUp ? 'up' : 'down'}`, async (t) => {
    const rig = netRig(t, { accept: plain });
    rig.device.setLink(linkUp);
    addBuffers(rig, 3);
    rig.port.emptyResult = 0;
    rig.arrive();
    const { reads } = rig.port;
    addBuffers(rig, 1);
    rig.driver.kick(0);
    rig.work();
    t.equal(rig.port.reads, reads, 'and is not asked again for new buffers');
    t.strictSame(rig.troubles(), {});
    t.strictSame(lengths(rig), []);
  });
}

test('long packets end a turn after a mebibyte, short ones after 64', async (t) => {
  const turns = (bytes: number, count: number): number[] => {
    const rig = netRig(t, { accept: plain | offloads });
    addBuffers(rig, 50, 65_536);
    const seen: number[] = [];
    rig.port.incoming.push(...Array.from({ length: count }, () => packet(bytes)));
    rig.device.portReady();
    for (;;) {
      seen.push(rig.counted('receivedPackets'));
      if (!rig.device.hasMore) return seen;
      rig.device.turn();
    }
  };
  t.strictSame(turns(longest, 18), [16, 18]);
  t.strictSame(turns(30, 49), [49]);
});

test('a packet that waits is dropped when the link goes down, and no other comes instead', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig, 2);
  rig.arrive(packet(5000));
  rig.device.setLink(false);
  addBuffers(rig, 4);
  rig.driver.kick(0);
  rig.work();
  t.strictSame(rig.troubles(), { receiveLinkDown: 1 });
  t.strictSame(lengths(rig), []);
  rig.device.setLink(true);
  rig.arrive(packet(60));
  t.strictSame(lengths(rig), [60]);
});

test('a packet that waited for buffers of one driver is not for the next', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig, 2);
  rig.arrive(packet(5000));
  rig.driver.reset();
  rig.driver.start(plain | offloads);
  addBuffers(rig, 10);
  rig.arrive(packet(60));
  t.strictSame(lengths(rig), [60]);
});

test('tells its port what it wants only when that changes', async (t) => {
  const rig = netRig(t, { accept: plain });
  const told: boolean[] = [];
  rig.port.listen = (isWanted) => told.push(isWanted);
  rig.arrive(packet(60));
  t.strictSame(told, [false], 'there are no buffers, and it has told in vain');
  rig.arrive(packet(61));
  rig.arrive();
  t.strictSame(told, [false]);
  addBuffers(rig, 4);
  rig.driver.kick(0);
  rig.work();
  t.strictSame(told, [false, true]);
  rig.arrive(packet(62));
  t.strictSame(told, [false, true]);
  t.strictSame(lengths(rig), [60, 61, 62]);
});

test('a port goes on telling while a listener wants a packet later, until it has told in vain', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig, 4);
  rig.driver.kick(0);
  const told: boolean[] = [];
  rig.port.listen = (isWanted) => told.push(isWanted);
  rig.device.toGuest.listener = { packet: () => 'later', room: () => {} };
  rig.arrive(packet(60));
  t.strictSame(told, []);
  rig.arrive(packet(61));
  rig.arrive();
  t.strictSame(told, [false]);
});

test('nothing can be put in where no driver is, and nobody is asked for it later', async (t) => {
  const rig = netRig(t, { accept: plain, start: false });
  t.equal(rig.device.toGuest.put(packet(60)), false);
  t.equal(rig.device.hasMore, false);
  rig.driver.start(plain);
  addBuffers(rig, 1);
  rig.arrive(packet(61));
  t.strictSame(lengths(rig), [61]);
});

test('a listener that was refused nothing is told of no room', async (t) => {
  const rig = netRig(t, { accept: plain });
  let rooms = 0;
  rig.device.toGuest.listener = { packet: () => 'pass', room: () => rooms++ };
  addBuffers(rig, 2);
  rig.arrive(packet(60));
  t.equal(rooms, 0);
});

test('refuses what has too little room until the driver adds buffers, and asks to be told of those', async (t) => {
  const rig = netRig(t, { accept: plain });
  let rooms = 0;
  rig.device.toGuest.listener = { packet: () => 'pass', room: () => rooms++ };
  addBuffers(rig, 2, 50);
  rig.receive.wantsKick();
  t.equal(rig.device.toGuest.put(packet(101)), false);
  t.strictSame(lengths(rig), []);
  addBuffers(rig, 1, 50);
  t.equal(rig.receive.wantsKick(), true);
  rig.transport.kicked(0);
  t.equal(rooms, 1);
  t.equal(rig.device.toGuest.put(packet(101)), true);
  t.strictSame(lengths(rig), [50, 50, 1]);
  t.strictSame(rig.troubles(), {});
});

test('drops what is put in and is longer than the one buffer that a packet may have', async (t) => {
  const rig = netRig(t, { accept: single });
  addBuffers(rig, 2, 100);
  t.equal(rig.device.toGuest.put(packet(101)), true, 'it is not to be tried again');
  t.strictSame(rig.troubles(), { receiveNoRoom: 1 });
  t.equal(rig.device.toGuest.put(packet(100)), true);
  t.strictSame(lengths(rig), [100]);
});

test('drops what comes for a driver that takes packets in one buffer each, if that is too short', async (t) => {
  const rig = netRig(t, { accept: single });
  addBuffers(rig, 2, 100);
  rig.arrive(packet(101), packet(100));
  t.strictSame(lengths(rig), [100]);
  t.strictSame(rig.troubles(), { receiveNoRoom: 1 });
});

/** Files of ours that hold packets. */
function overflows(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('memfd:packet overflow');
    } catch {
      return false; // the directory itself
    }
  }).length;
}

test('leaves no file behind when it is closed', async (t) => {
  const before = overflows();
  const cleanings: (() => unknown)[] = [];
  netRig({ teardown: (clean) => cleanings.unshift(clean) });
  t.equal(overflows(), before + 1);
  for (const clean of cleanings) clean();
  t.equal(overflows(), before);
});
