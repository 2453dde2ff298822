import { test } from 'tap';
import { DescriptorChain } from '../../../../src/devices/virtio/descriptor-chain.ts';
import { Virtqueue } from '../../../../src/devices/virtio/virtqueue.ts';
import { gpa, pageSize } from '../../../../src/memory/address.ts';
import { bufferedGuestMemory } from '../../../../src/memory/guest-memory.ts';
import { GuestRoom, MockQueue } from '../../../support/mock-queue.ts';

const size = 8;

function rig() {
  const memory = bufferedGuestMemory([{ start: gpa(0), sizeBytes: 16 * pageSize, offset: 0 }]);
  const driver = new MockQueue(memory, new GuestRoom(pageSize, 16 * pageSize), { size });
  const queue = new Virtqueue(memory, driver.setup, { indirect: true, eventIndex: false });
  return { driver, queue, chain: new DescriptorChain(size) };
}

for (const how of ['direct', 'indirect'] as const) {
  test(`a request of ${how} descriptors that was in flight is read once more, and the ring stays where it is`, async (t) => {
    const { driver, queue, chain } = rig();
    for (let other = 0; other < 3; other++) driver.add([{ write: 9 }]);
    const last = driver.add([{ read: new Uint8Array(10) }, { write: 30 }], how);
    for (let request = 0; request < 4; request++) queue.pop(chain);
    const where = queue.position;
    chain.clear(0);
    t.equal(queue.popAgain(chain, last), true);
    t.match(chain, { head: last, count: 2, readableBytes: 10, writableBytes: 30 });
    t.strictSame(queue.position, where);
    t.equal(queue.fault, undefined);
  });
}

test('the last descriptor of the table can be a request, and none behind it', async (t) => {
  const { driver, queue, chain } = rig();
  driver.writeDescriptor(size - 1, { address: pageSize, length: 4 });
  t.equal(queue.popAgain(chain, size - 1), true);
  t.equal(queue.popAgain(chain, size), false);
  t.equal(queue.fault, 'a request is descriptor 8 of 8');
  t.equal(queue.popAgain(chain, size - 1), false, 'a queue that is broken gives nothing');
  t.equal(queue.fault, 'a request is descriptor 8 of 8');
});

test('a request that is none any more breaks the queue', async (t) => {
  const { driver, queue, chain } = rig();
  driver.writeDescriptor(3, { address: 2 ** 40, length: 4 });
  t.equal(queue.popAgain(chain, 3), false);
  t.equal(queue.fault, 'a buffer of 4 bytes at 0x10000000000 is not in RAM');
});

test('a table that is not in RAM is named as such', async (t) => {
  const { driver, queue, chain } = rig();
  driver.writeDescriptor(3, { address: 2 ** 40, length: 16, flags: 4 });
  t.equal(queue.popAgain(chain, 3), false);
  t.equal(queue.fault, 'an indirect table of 16 bytes at 0x10000000000 is not in RAM');
});

test('stands wherever a queue of its size can, with all of its entries in flight', async (t) => {
  const { queue } = rig();
  const position = { nextAvail: 3, nextUsed: 0xffff, signalled: 0xfffb };
  queue.position = position;
  t.strictSame(queue.position, position);
  for (const [counters, reason] of [
    [[4, 0xffff, 0xfffb], 'a queue of 8 entries cannot stand at avail 4, used 65535, signalled 65531'],
    [[8, 9, 8], 'a queue of 8 entries cannot stand at avail 8, used 9, signalled 8'],
    [[-1, 0, 0], '-1 is no place in a ring'],
    [[0, 0, 65_536], '65536 is no place in a ring'],
    [[0, 0.5, 0], '0.5 is no place in a ring'],
  ] as const) {
    const [nextAvail, nextUsed, signalled] = counters;
    t.throws(
      () => {
        queue.position = { nextAvail, nextUsed, signalled };
      },
      { name: 'VirtqueueError', code: 'VIRTQUEUE', message: reason },
    );
  }
  t.strictSame(queue.position, position, 'and is where it was');
});

test('a chain that has not the room of the queue is a mistake of ours', async (t) => {
  const { driver, queue } = rig();
  driver.add([{ write: 1 }, { write: 1 }, { write: 1 }]);
  t.throws(() => queue.pop(new DescriptorChain(2)), { message: 'a chain for 2 buffers pops from 8 entries' });
});
