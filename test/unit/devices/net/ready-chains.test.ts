import { type Test, test } from 'tap';
import { PacketRanges } from '../../../../src/devices/net/packet-tap.ts';
import { ReadyChains } from '../../../../src/devices/net/ready-chains.ts';
import { Virtqueue } from '../../../../src/devices/virtio/virtqueue.ts';
import { type IoVector, IoVectors, maxIoVectorEntries } from '../../../../src/host/io-vector.ts';
import { MemfdMapping } from '../../../../src/host/mapping.ts';
import { gpa, MiB } from '../../../../src/memory/address.ts';
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
