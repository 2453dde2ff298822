import { type Test, test } from 'tap';
import { PacketRanges } from '../../../../src/devices/net/packet-tap.ts';
import { ReadyChains } from '../../../../src/devices/net/ready-chains.ts';
import { Virtqueue } from '../../../../src/devices/virtio/virtqueue.ts';
import { type IoVector, IoVectors, maxIoVectorEntries } from '../../../../src/host/mappings/io-vector.ts';
import { MemfdMapping } from '../../../../src/host/mappings/mapping.ts';
import { gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { GuestRoom, MockQueue } from '../../../support/mock-queue.ts';
import { FakePort, packet } from './net-rig.ts';

function rig(t: Test, { size = 8, mergeable = true } = {}) {
  const ram = new Ram(2 * MiB);
  const overflow = new MemfdMapping('overflow', 70_000);
  const vectors = new IoVectors(2, maxIoVectorEntries);
  t.teardown(() => {
    vectors.close();
    overflow.close();
    ram.close();
  });
  const { memory } = ram;
  const driver = new MockQueue(memory, new GuestRoom(4096, 2 * MiB), { size });
  const queue = new Virtqueue(memory, driver.setup, { indirect: true, eventIndex: false });
  const failures: string[] = [];
  const host = { interruptQueue: () => {}, interruptConfig: () => {}, fail: (why: string) => failures.push(why) };
  const [vector, target] = vectors.vectors as [IoVector, IoVector];
  const chains = new ReadyChains({ memory, host, queue, mergeable, vector });
  const add = (...buffers: number[]): void => {
    for (const bytes of buffers) driver.add([{ write: bytes }]);
  };
  return { memory, driver, queue, failures, chains, target, overflow, port: new FakePort(), add };
}

test('makes as much ready as is asked for, and one chain at least', async (t) => {
  const { chains, add } = rig(t);
  chains.prepare(100);
  t.match(chains, { isEmpty: true, room: 0, isFull: false });
  add(1000, 1000, 1000);
  chains.prepare(0);
  t.match(chains, { isEmpty: false, room: 1000 });
  chains.prepare(1001);
  t.equal(chains.room, 2000);
  chains.prepare(5000);
  t.match(chains, { room: 3000, isFull: false }, 'the driver may add more');
});

test('is full with one chain for each packet, or with all that the queue has', async (t) => {
  const single = rig(t, { mergeable: false });
  single.add(100, 100);
  single.chains.prepare(150);
  t.match(single.chains, { room: 100, isFull: true });

  const { chains, add } = rig(t, { size: 2 });
  add(100, 100);
  chains.prepare(300);
  t.match(chains, { room: 200, isFull: true });
});

test('uses chains for packets in turn, and keeps those that one does not fill', async (t) => {
  const { chains, driver, queue, overflow, port, add } = rig(t);
  add(100, 100, 100);
  chains.prepare(300);
  for (const length of [150, 60]) {
    port.incoming.push(packet(length));
    t.equal(chains.readFrom(port, overflow), length);
    chains.use(length);
  }
  t.match(chains, { isEmpty: true, room: 0 });
  t.strictSame(driver.collect(), [], 'not before the queue is published');
  queue.publish();
  const answers = driver.collect();
  t.strictSame(
    answers.map(({ length }) => length),
    [100, 50, 60],
  );
  t.strictSame(
    [answers[0], answers[2]].map((answer) => answer?.bytes[10]),
    [2, 1],
    'num_buffers',
  );
});

test('what has no room is in the overflow, at its offset in the packet', async (t) => {
  const { chains, memory, target, overflow, port, add } = rig(t);
  add(100);
  chains.prepare(200);
  port.incoming.push(packet(180));
  t.equal(chains.readFrom(port, overflow), 180);
  t.equal(chains.room, 100);
  const ranges = new PacketRanges(memory, 8);
  chains.describe(100, ranges);
  const beginning = new Uint8Array(100);
  t.equal(ranges.copy(beginning), 100);
  t.strictSame([...beginning.subarray(12)], [...packet(180).subarray(12, 100)]);
  chains.gather(20, 70, target);
  t.match(target, { count: 1, bytes: 50 });
});

test('gathers across chains, from within one to within another', async (t) => {
  const { chains, target, add } = rig(t);
  add(100, 100, 100);
  chains.prepare(300);
  chains.gather(50, 210, target);
  t.strictSame(
    Array.from({ length: target.count }, (_, index) => target.lengthOf(index)),
    [50, 100, 10],
  );
});

test('gives all back, to be taken again in order', async (t) => {
  const { chains, queue, driver, overflow, port, add } = rig(t);
  const first = driver.add([{ write: 100 }]);
  add(100, 100);
  chains.prepare(300);
  chains.giveBack();
  t.match(chains, { isEmpty: true, room: 0 });
  t.equal(queue.position.nextAvail, 0);
  chains.prepare(100);
  port.incoming.push(packet(100));
  chains.readFrom(port, overflow);
  chains.use(100);
  queue.publish();
  t.equal(driver.collectOne().head, first);
});

test('fails the device for a broken ring, and has nothing more', async (t) => {
  const { chains, driver, failures } = rig(t);
  driver.addPlaced([{ address: gpa(64 * MiB), length: 100, writable: true }]);
  chains.prepare(100);
  t.equal(failures.length, 1);
  t.equal(chains.isEmpty, true);
});

test('fails the device for a buffer of more pieces than one call fills, and says how many', async (t) => {
  const { chains, driver, failures } = rig(t, { size: maxIoVectorEntries });
  driver.add(new Array(maxIoVectorEntries).fill({ write: 8 }), 'indirect');
  chains.prepare(100);
  t.strictSame(failures, ['a buffer for packets has 1024 pieces, more than one call fills']);
  t.match(chains, { isEmpty: true, isFull: true });
});

test('has as many pieces ready as one call fills, and more once packets have used some', async (t) => {
  const pieces = 64;
  const { chains, driver, queue, overflow, port, failures } = rig(t, { size: pieces });
  for (let count = 0; count < 20; count++) driver.add(new Array(pieces).fill({ write: 2 }), 'indirect');
  t.equal(chains.isFull, false, 'nothing was asked for');
  chains.prepare(20 * 128);
  t.match(chains, { room: 15 * 128, isFull: true }, 'one entry is for the overflow');
  for (let seed = 1; seed <= 20; seed++) {
    port.incoming.push(packet(128, seed));
    t.equal(chains.readFrom(port, overflow), 128);
    chains.use(128);
    queue.publish();
    t.strictSame([...driver.collectOne().bytes.subarray(12)], [...packet(128, seed).subarray(12)]);
    chains.prepare(20 * 128);
    t.equal(chains.room, Math.min(15, 20 - seed) * 128);
  }
  t.strictSame(failures, []);
});

test('offers a port the room there is, and the overflow up to its end', async (t) => {
  const { chains, overflow, port, add } = rig(t);
  add(100);
  chains.prepare(100);
  port.incoming.push(new Uint8Array(2 * overflow.sizeBytes));
  t.equal(chains.readFrom(port, overflow), overflow.sizeBytes);
});

test('what the driver only lets it read is no room, and is given back with the packet', async (t) => {
  const { chains, driver, queue, overflow, port } = rig(t);
  const read = new Uint8Array(4);
  driver.add([{ read }, { write: 100 }]);
  driver.add([{ read }, { write: 100 }]);
  chains.prepare(200);
  t.equal(chains.room, 200);
  const exchange = (length: number): [length: number, buffers: number | undefined, byte: number | undefined][] => {
    port.incoming.push(packet(length));
    chains.readFrom(port, overflow);
    chains.use(length);
    queue.publish();
    return driver.collect().map(({ length, bytes }) => [length, bytes[10], bytes[20]]);
  };
  t.strictSame(exchange(80), [[80, 1, packet(80)[20]]]);
  t.strictSame(exchange(80), [[80, 1, packet(80)[20]]]);
  driver.add([{ read }]);
  driver.add([{ write: 100 }]);
  chains.prepare(100);
  t.equal(chains.room, 100);
  t.strictSame(exchange(60), [
    [0, undefined, undefined],
    [60, 2, packet(60)[20]],
  ]);
});

for (const [how, pieces] of [
  ['in one piece', [12]],
  ['up to num_buffers', [10, 2]],
  ['within num_buffers', [11, 1]],
  ['in single bytes', new Array<number>(12).fill(1)],
] as const) {
  test(`says in a header that lies ${how} how many buffers the packet has, and writes nothing beside it`, async (t) => {
    const { chains, memory, driver, overflow, port } = rig(t, { size: 512 });
    // Each piece lies alone among other bytes.
    const start = MiB;
    const around = [...pieces, 20].map((length, index) => ({ address: start + 64 * index, length, writable: true }));
    memory.write(gpa(start), new Uint8Array(64 * around.length).fill(0xee));
    driver.addPlaced(around);
    for (let more = 0; more < 300; more++) driver.add([{ write: 1 }]);
    const content = new Uint8Array(332).fill(0x77);
    port.incoming.push(content);
    chains.prepare(332);
    chains.readFrom(port, overflow);
    chains.use(332);
    const expected = new Uint8Array(64 * around.length).fill(0xee);
    const header = [...content.subarray(0, 10), 301 & 0xff, 301 >> 8, ...content.subarray(0, 20)];
    for (const { address, length } of around) expected.set(header.splice(0, length), address - start);
    t.strictSame(Buffer.compare(memory.slice(gpa(start), expected.length), expected), 0);
  });
}

test('a header that goes on in the next buffer has its count there', async (t) => {
  const { chains, driver, queue, overflow, port } = rig(t);
  driver.add([{ write: 6 }, { write: 50 }]);
  chains.prepare(56);
  port.incoming.push(packet(56));
  chains.readFrom(port, overflow);
  chains.use(56);
  driver.add([{ write: 6 }]);
  driver.add([{ write: 100 }]);
  chains.prepare(100);
  port.incoming.push(packet(70));
  chains.readFrom(port, overflow);
  chains.use(70);
  queue.publish();
  const [, first, second] = driver.collect();
  t.match([first?.length, second?.length], [6, 64]);
  t.strictSame([...(second?.bytes.subarray(4, 6) ?? [])], [2, 0]);
});

test('marks what a packet that waits was written into, and nothing behind it', async (t) => {
  const { chains, memory, driver } = rig(t);
  for (const page of [300, 301, 302]) driver.addPlaced([{ address: page * pageSize, length: 100, writable: true }]);
  const written = memory.regions[0]?.written;
  const marked = (bytes: number): number[] => {
    const pages: number[] = [];
    chains.markWritten(bytes);
    written?.forEach((page) => void pages.push(page));
    written?.clear();
    return pages;
  };
  chains.prepare(300);
  t.strictSame(marked(300), [], 'nobody keeps track');
  memory.tracking = true;
  t.strictSame(marked(100), [300]);
  t.strictSame(marked(101), [300, 301]);
  t.strictSame(marked(300), [300, 301, 302]);
  t.strictSame(marked(0), []);
});
