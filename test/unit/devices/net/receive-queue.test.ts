import { type Test, test } from 'tap';
import { netFeature } from '../../../../src/devices/net/net-shape.ts';
import type { NetState } from '../../../../src/devices/net/net-state.ts';
import { feature } from '../../../../src/devices/virtio/mmio-state.ts';
import { EFAULT, EIO } from '../../../../src/host/errno.ts';
import { libc } from '../../../../src/host/libc/library.ts';
import { gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import type { MockQueue } from '../../../support/mock-queue.ts';
import { type NetRig, netRig, packet } from './net-rig.ts';

const offloads = netFeature.guestChecksum | netFeature.guestTso4;
/** No offloads, mergeable buffers. */
const plain = feature.version1 | feature.eventIndex | netFeature.mergeableBuffers;
/** No mergeable buffers either. */
const single = feature.version1 | feature.eventIndex;
const longest = 65_562;

/** The packets in a receive queue: put together again from the buffers that num_buffers says they have. */
function packets(queue: MockQueue): Uint8Array[] {
  const answers = queue.collect();
  const found: Uint8Array[] = [];
  while (answers.length > 0) {
    const first = answers[0]?.bytes ?? new Uint8Array(0);
    const count = (first[10] ?? 0) | ((first[11] ?? 0) << 8);
    const bytes = Buffer.concat(answers.splice(0, count).map((answer) => answer.bytes));
    bytes.fill(0, 10, 12); // as it was when it came
    found.push(new Uint8Array(bytes));
  }
  return found;
}

function addBuffers(queue: MockQueue, count: number, bytes: number): void {
  for (let index = 0; index < count; index++) queue.add([{ write: bytes }]);
}

test('puts a packet into one buffer and says so, whatever was there', async (t) => {
  const rig = netRig(t, { accept: plain });
  const place = rig.receive.place({ write: 1600 });
  rig.memory.writableSlice(gpa(place.address), place.length).fill(0xee);
  rig.receive.addPlaced([place]);
  rig.arrive(packet(100));
  const { bytes } = rig.receive.collectOne();
  t.strictSame([...bytes.subarray(10, 12)], [1, 0]);
  t.strictSame([...bytes.subarray(12)], [...packet(100).subarray(12)]);
  t.equal(rig.counted('receivedPackets'), 1);
  t.equal(rig.counted('receivedBytes'), 88);
  t.strictSame(rig.troubles(), {});
});

test('spreads a packet over as many buffers as it fills, and the rest are there for the next', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 60, 1530);
  rig.arrive(packet(longest, 1), packet(60, 2), packet(1530, 3), packet(1531, 4));
  t.strictSame(packets(rig.receive), [packet(longest, 1), packet(60, 2), packet(1530, 3), packet(1531, 4)]);
  t.equal(rig.receive.inFlight, 60 - 43 - 1 - 1 - 2);
  t.strictSame(rig.troubles(), {});
});

test('brings many packets through many buffers of all shapes, in order', async (t) => {
  const rig = netRig(t, { accept: plain | offloads | feature.indirectDescriptors });
  const all: Uint8Array[] = [];
  const got: Uint8Array[] = [];
  for (let round = 0; round < 100; round++) {
    while (rig.receive.free > 8 && rig.receive.inFlight < 120) {
      const pieces = Array.from({ length: 1 + (round % 5) }, (_, index) => ({
        write: 40 + ((round * 97 + index) % 900),
      }));
      rig.receive.add(pieces, round % 3 === 0 ? 'indirect' : 'direct');
    }
    rig.driver.kick(0);
    const some = [26, 60 + round, 1514, 4000 + round * 7].map((length, index) => packet(length, round + index));
    all.push(...some);
    rig.arrive(...some);
    got.push(...packets(rig.receive));
  }
  while (got.length < all.length) {
    addBuffers(rig.receive, 10, 2000);
    rig.driver.kick(0);
    rig.work();
    got.push(...packets(rig.receive));
  }
  t.equal(got.length, all.length);
  t.ok(Buffer.concat(got).equals(Buffer.concat(all)));
  t.strictSame(rig.troubles(), {});
});

test('writes num_buffers into a header that is cut anywhere, over buffers too', async (t) => {
  for (const sizes of [
    [10, 1, 1, 1500],
    [11, 1500],
    [1, 1500],
    [12, 1500],
  ]) {
    const oneChain = netRig(t, { accept: plain });
    oneChain.receive.add(sizes.map((write) => ({ write })));
    oneChain.arrive(packet(200));
    t.strictSame(packets(oneChain.receive), [packet(200)], `${sizes} in one chain`);

    const chains = netRig(t, { accept: plain });
    for (const write of sizes) chains.receive.add([{ write }]);
    chains.arrive(packet(200));
    const answers = chains.receive.collect();
    const bytes = Buffer.concat(answers.map((answer) => answer.bytes));
    t.strictSame([...bytes.subarray(10, 12)], [sizes.length, 0], `${sizes} in chains`);
    t.strictSame([...bytes.subarray(12)], [...packet(200).subarray(12)]);
  }
});

test('without mergeable buffers a packet has a chain of its own, and one that is too long is dropped', async (t) => {
  const rig = netRig(t, { accept: single });
  rig.receive.add([{ write: 12 }, { write: 1518 }]);
  rig.receive.add([{ write: 12 }, { write: 1518 }]);
  rig.arrive(packet(1530, 1), packet(1531, 2), packet(70, 3));
  const answers = rig.receive.collect();
  t.strictSame(
    answers.map(({ length, bytes }) => [length, bytes[10], bytes[11]]),
    [
      [1530, 1, 0],
      [70, 1, 0],
    ],
  );
  t.strictSame(rig.troubles(), { receiveNoRoom: 1 });
});

test('leaves packets in the port while there are no buffers, and asks for a kick', async (t) => {
  const rig = netRig(t, { accept: plain });
  rig.port.incoming.push(packet(100, 1), packet(100, 2));
  rig.device.portReady();
  t.equal(rig.device.hasMore, false);
  t.equal(rig.port.reads, 0);
  addBuffers(rig.receive, 1, 1530);
  t.equal(rig.receive.wantsKick(), true);
  rig.device.kicked(0);
  t.strictSame(packets(rig.receive), [packet(100, 1)]);
  t.equal(rig.port.incoming.length, 1);
});

test('does not look at an empty port for every buffer that is added', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 10, 1530);
  rig.driver.kick(0);
  rig.arrive(packet(100));
  const { reads } = rig.port;
  addBuffers(rig.receive, 10, 1530);
  t.equal(rig.receive.wantsKick(), false);
  rig.device.kicked(0);
  t.equal(rig.port.reads, reads);
});

test('does not listen to its port while there are no buffers, until that is empty again', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 2, 1530);
  rig.arrive(packet(100, 1));
  t.equal(rig.port.listening, true);
  rig.arrive(packet(100, 2), packet(100, 3), packet(100, 4));
  t.equal(rig.port.listening, true, 'nobody was woken for nothing yet');
  rig.arrive(packet(100, 5));
  t.equal(rig.port.listening, false);
  addBuffers(rig.receive, 1, 1530);
  rig.device.kicked(0);
  t.equal(rig.port.listening, false, 'it is not empty');
  addBuffers(rig.receive, 2, 1530);
  rig.device.kicked(0);
  t.equal(rig.port.listening, false, 'nobody knows that it is empty');
  addBuffers(rig.receive, 1, 1530);
  rig.device.kicked(0);
  t.equal(rig.port.listening, true);
  t.strictSame(
    packets(rig.receive),
    [1, 2, 3, 4, 5].map((seed) => packet(100, seed)),
  );
});

test('listens to its port for the next driver, whatever became of the one before', async (t) => {
  const rig = netRig(t, { accept: plain });
  rig.arrive(packet(100, 1));
  rig.arrive(packet(100, 2));
  t.equal(rig.port.listening, false);
  rig.driver.reset();
  rig.driver.start(plain);
  addBuffers(rig.receive, 4, 1530);
  rig.driver.kick(0);
  t.equal(rig.port.listening, true);
});

test('keeps a packet that has no room until there are enough buffers', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 3, 1530);
  rig.arrive(packet(60_000, 1), packet(60, 2));
  t.strictSame(packets(rig.receive), []);
  addBuffers(rig.receive, 20, 1530);
  t.equal(rig.receive.wantsKick(), true);
  rig.device.kicked(0);
  t.strictSame(packets(rig.receive), []);
  addBuffers(rig.receive, 20, 1530);
  t.equal(rig.receive.wantsKick(), true);
  rig.device.kicked(0);
  t.strictSame(packets(rig.receive), [packet(60_000, 1), packet(60, 2)]);
  t.strictSame(rig.troubles(), {});
});

test('drops a packet that all the buffers a queue can have do not hold', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  const { size } = rig.receive;
  addBuffers(rig.receive, size, 16);
  rig.arrive(packet(size * 16 + 1, 1), packet(size * 15, 2));
  t.strictSame(packets(rig.receive), [packet(size * 15, 2)]);
  t.strictSame(rig.troubles(), { receiveNoRoom: 1 });
});

test('drops a packet that waited for buffers when those can never be enough', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 10, 16);
  rig.arrive(packet(20_000, 1), packet(60, 2));
  addBuffers(rig.receive, rig.receive.size - 10, 16);
  rig.device.kicked(0);
  rig.work();
  t.strictSame(packets(rig.receive), [packet(60, 2)]);
  t.strictSame(rig.troubles(), { receiveNoRoom: 1 });
});

test('works with chains of more pieces than one system call takes', async (t) => {
  const rig = netRig(t, { accept: plain | offloads | feature.indirectDescriptors });
  for (let index = 0; index < 20; index++) {
    rig.receive.add(
      Array.from({ length: 250 }, () => ({ write: 8 })),
      'indirect',
    );
  }
  rig.arrive(packet(7000, 1), packet(9000, 2), packet(2000, 3), packet(4000, 4));
  t.strictSame(packets(rig.receive), [packet(7000, 1), packet(2000, 3), packet(4000, 4)]);
  t.ok(rig.port.ranges <= 1024);
  t.strictSame(rig.troubles(), { receiveNoRoom: 1 });
});

test('has room for a long packet however many short ones went before', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 60, 1530);
  for (let round = 0; round < 40; round++) {
    const some = [...Array.from({ length: 16 }, (_, index) => packet(100, round + index)), packet(60_000, round)];
    rig.arrive(...some);
    const got = packets(rig.receive);
    t.ok(Buffer.concat(got).equals(Buffer.concat(some)), `round ${round}`);
    addBuffers(rig.receive, rig.receive.free - (rig.receive.size - 60), 1530);
    rig.driver.kick(0);
  }
  t.strictSame(rig.troubles(), {});
});

test('gives its port room for the longest packet only while long ones come', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 250, 1530);
  rig.arrive(packet(60));
  t.equal(rig.port.ranges, 43 + 1);
  for (let index = 0; index < 64 + 43; index++) rig.arrive(packet(60, index));
  t.equal(rig.port.ranges, 1 + 1);
  packets(rig.receive);
  rig.arrive(packet(longest, 1), packet(60, 2));
  t.strictSame(packets(rig.receive), [packet(longest, 1), packet(60, 2)], 'one that comes all the same');
  t.equal(rig.port.ranges, 43 + 1);
  t.strictSame(rig.troubles(), {});
});

test('drops what is no packet: shorter than its headers, or longer than any may be', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 60, 1530);
  rig.arrive(packet(25), packet(longest + 1), packet(longest + 5000), packet(26, 9));
  t.strictSame(packets(rig.receive), [packet(26, 9)]);
  t.strictSame(rig.troubles(), { receiveTooShort: 1, receiveTooLong: 2 });
});

test('ends a turn after a while, so that others get theirs', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 200, 1530);
  rig.port.incoming.push(...Array.from({ length: 150 }, (_, index) => packet(100, index)));
  rig.device.portReady();
  t.equal(rig.device.hasMore, true);
  t.equal(rig.port.incoming.length, 150 - 64);
  t.equal(packets(rig.receive).length, 64, 'and shows its driver what there is');
  t.equal(rig.work(), 2);
  t.equal(packets(rig.receive).length, 86);
});

test('stops at a port that fails, counts it, and goes on when that tells of packets', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 4, 1530);
  rig.port.emptyResult = -EIO;
  rig.arrive(packet(100, 1));
  t.strictSame(rig.troubles(), { receiveErrors: 1 });
  rig.arrive(packet(100, 2));
  t.strictSame(packets(rig.receive), [packet(100, 1), packet(100, 2)]);
});

test('interrupts its driver once for packets that come together', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 10, 1530);
  const before = rig.interrupts;
  rig.arrive(packet(100), packet(100), packet(100));
  t.equal(rig.interrupts, before + 1);
});

test('interrupts its driver after a few turns, when there is still more', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 256, 1530);
  const before = rig.interrupts;
  rig.port.incoming.push(...Array.from({ length: 300 }, () => packet(100)));
  rig.device.portReady();
  rig.device.turn();
  rig.device.turn();
  t.equal(rig.interrupts, before);
  rig.device.turn();
  t.equal(rig.interrupts, before + 1);
  t.equal(packets(rig.receive).length, 256);

  const fewer = netRig(t, { accept: plain });
  addBuffers(fewer.receive, 100, 1530);
  const beforeFewer = fewer.interrupts;
  fewer.arrive(...Array.from({ length: 300 }, () => packet(100)));
  t.equal(fewer.interrupts, beforeFewer + 1, 'or no more buffers');
});

test('marks what was written as dirty, only that, and also where the driver is not told', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  const [page, next] = [1 << 20, 2 << 20];
  rig.receive.addPlaced([{ address: page, length: 4 * pageSize, writable: true }]);
  rig.receive.addPlaced([{ address: next, length: 50_000, writable: true }]);
  const dirty = (): number[] => {
    const found: number[] = [];
    rig.memory.regions[0]?.written.forEach((index) => {
      found.push(index);
    });
    rig.memory.regions[0]?.written.clear();
    return found.filter((index) => index >= page / pageSize);
  };
  rig.memory.tracking = true;
  rig.arrive(packet(pageSize + 100));
  t.strictSame(dirty(), [256, 257]);
  // Overflows: the packet waits, its beginning is in the guest's memory already.
  rig.arrive(packet(60_000));
  t.strictSame(
    dirty(),
    [...Array(13).keys()].map((index) => 512 + index),
  );
});

test('marks all that a port may have written which failed, and nothing where it just had no packet', async (t) => {
  const rig = netRig(t, { accept: plain });
  const page = MiB / pageSize;
  rig.receive.addPlaced([{ address: MiB, length: 2 * pageSize, writable: true }]);
  rig.memory.tracking = true;
  const { written } = rig.memory.regions[0] ?? {};
  rig.arrive();
  t.strictSame([written?.has(page), written?.has(page + 1)], [false, false]);
  rig.port.emptyResult = -EFAULT;
  rig.arrive();
  t.strictSame([written?.has(page), written?.has(page + 1)], [true, true]);
  t.equal(written?.has(page + 2), false);
});

/** Guest memory that the kernel cannot touch, as where the host has none to back it with. */
function withhold(t: Test, { memory }: NetRig, address: number): void {
  const mprotect = libc.func('int mprotect(int64_t, size_t, int)');
  const at = memory.addressForRead(gpa(address), pageSize);
  t.equal(mprotect(at, pageSize, 0), 0);
  t.teardown(() => mprotect(at, pageSize, 3));
}

test('drops a packet that waited and does not come in whole, and brings in the next', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 2, 1530);
  rig.arrive(packet(10_000, 1));
  rig.receive.addPlaced([{ address: MiB, length: 3 * pageSize, writable: true }]);
  withhold(t, rig, MiB + pageSize); // so that the call is short, and then fails
  rig.memory.tracking = true;
  rig.device.kicked(0);
  t.strictSame(packets(rig.receive), []);
  t.strictSame(rig.troubles(), { receiveErrors: 1 });
  t.equal(rig.memory.regions[0]?.written.has(MiB / pageSize), true, 'what was written is marked');
  rig.arrive(packet(100, 2));
  t.strictSame(packets(rig.receive), [packet(100, 2)]);
});

test('drops a packet that waits and cannot be kept whole over a pause', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  rig.receive.addPlaced([{ address: MiB, length: 2 * pageSize, writable: true }]);
  rig.arrive(packet(10_000, 1));
  withhold(t, rig, MiB + pageSize);
  rig.transport.pause();
  t.strictSame(rig.troubles(), { receiveErrors: 1 });
  t.strictSame((rig.transport.save().device as NetState).waiting, new Uint8Array(0));
  addBuffers(rig.receive, 20, 1530);
  rig.transport.resume();
  t.strictSame(packets(rig.receive), []);
});

test('drops a packet that is put in and does not come in whole', async (t) => {
  const rig = netRig(t, { accept: plain });
  rig.receive.addPlaced([{ address: MiB, length: 2 * pageSize, writable: true }]);
  withhold(t, rig, MiB);
  t.equal(rig.device.toGuest.put(packet(5000)), true);
  t.strictSame(packets(rig.receive), []);
  t.strictSame(rig.troubles(), { receiveErrors: 1 });
});

test('gives its buffers back when it is paused, and loses no packet by it', async (t) => {
  const rig = netRig(t, { accept: plain | offloads });
  addBuffers(rig.receive, 50, 1530);
  rig.arrive(packet(100, 1));
  rig.transport.pause();
  t.equal(rig.transport.queues[0]?.position.nextAvail, 1);
  t.equal(rig.transport.idle, true);
  rig.arrive(packet(100, 2));
  t.equal(rig.port.incoming.length, 1);
  rig.transport.resume();
  t.strictSame(packets(rig.receive), [packet(100, 1), packet(100, 2)]);

  const few = netRig(t, { accept: plain | offloads });
  const places = [few.receive.place({ write: 1530 }), few.receive.place({ write: 1530 })];
  for (const place of places) few.receive.addPlaced([place]);
  few.arrive(packet(5000, 3));
  few.transport.pause();
  // The buffers are the driver's again, or those of another machine.
  for (const { address, length } of places) few.memory.zero(gpa(address), length);
  t.equal(few.transport.queues[0]?.position.nextAvail, 0);
  addBuffers(few.receive, 2, 1530);
  few.transport.resume();
  t.strictSame(packets(few.receive), [packet(5000, 3)], 'the one that waited for buffers');
});

test('reads the port when it is activated: what waits there has been told of before', async (t) => {
  const rig = netRig(t, { start: false });
  rig.port.incoming.push(packet(100));
  rig.device.portReady();
  rig.driver.negotiate(plain);
  rig.driver.setUpQueues();
  addBuffers(rig.receive, 2, 1530);
  rig.driver.finish();
  t.strictSame(packets(rig.receive), [packet(100)]);
});

test('drops what comes while the link is down', async (t) => {
  const rig = netRig(t, { accept: plain });
  addBuffers(rig.receive, 2, 1530);
  rig.device.setLink(false);
  rig.arrive(packet(100, 1), packet(100, 2));
  rig.device.setLink(true);
  rig.arrive(packet(100, 3));
  t.strictSame(packets(rig.receive), [packet(100, 3)]);
  t.strictSame(rig.troubles(), { receiveLinkDown: 2 });
});

test('stands buffers without room and buffers to read', async (t) => {
  const rig = netRig(t, { accept: plain });
  rig.receive.add([{ read: new Uint8Array(100) }]);
  rig.receive.add([{ read: new Uint8Array(100) }, { write: 5 }]);
  rig.receive.add([{ write: 1530 }]);
  rig.arrive(packet(100));
  const answers = rig.receive.collect();
  t.strictSame(
    answers.map(({ length }) => length),
    [0, 5, 95],
  );
  t.equal(Buffer.concat(answers.map(({ bytes }) => bytes))[10], 3);
});

test('fails for a buffer in more pieces than one system call takes, and asks for no turn', async (t) => {
  const rig = netRig(t, { accept: plain | offloads | feature.indirectDescriptors });
  rig.receive.add(
    Array.from({ length: rig.receive.size }, () => ({ write: 8 })),
    'indirect',
  );
  rig.port.incoming.push(packet(100));
  rig.device.portReady();
  t.equal(rig.device.hasMore, false);
  t.equal(rig.transport.failures, 1);
  rig.driver.reset();
  rig.driver.start(plain);
  addBuffers(rig.receive, 1, 1530);
  rig.driver.kick(0);
  t.strictSame(packets(rig.receive), [packet(100)]);
});
