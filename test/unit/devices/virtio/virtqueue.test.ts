import { test } from 'tap';
import { DescriptorChain } from '../../../../src/devices/virtio/descriptor-chain.ts';
import { type QueueSetup, Virtqueue, VirtqueueError } from '../../../../src/devices/virtio/virtqueue.ts';
import { gpa, pageSize } from '../../../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../../../src/memory/guest-memory.ts';
import { descriptor, GuestRoom, MockQueue } from '../../../support/mock-queue.ts';

const ramBytes = 64 * pageSize;

interface Rig {
  readonly memory: GuestMemory;
  readonly driver: MockQueue;
  readonly queue: Virtqueue;
  readonly chain: DescriptorChain;
}

function rig({ size = 8, indirect = true, eventIndex = false, ram = ramBytes } = {}): Rig {
  const memory = bufferedGuestMemory([{ start: gpa(0), sizeBytes: ram, offset: 0 }]);
  const driver = new MockQueue(memory, new GuestRoom(pageSize, Math.min(ram, ramBytes)), { size, eventIndex });
  const queue = new Virtqueue(memory, driver.setup, { indirect, eventIndex });
  return { memory, driver, queue, chain: new DescriptorChain(size) };
}

function buffersOf(chain: DescriptorChain): [address: number, length: number][] {
  return Array.from({ length: chain.count }, (_, index) => [chain.addressOf(index), chain.lengthOf(index)]);
}

const someBytes = Uint8Array.of(1, 2, 3);

for (const how of ['direct', 'indirect'] as const) {
  test(`takes a request of ${how} descriptors as it was added`, async (t) => {
    const { driver, queue, chain } = rig();
    const buffers = [{ read: new Uint8Array(10) }, { read: new Uint8Array(20) }, { write: 30 }].map((buffer) =>
      driver.place(buffer),
    );
    const head = driver.addPlaced(buffers, how);
    t.equal(queue.pop(chain), true);
    t.equal(chain.head, head);
    t.strictSame(
      buffersOf(chain),
      buffers.map(({ address, length }) => [address, length]),
    );
    t.match(chain, { readable: 2, readableBytes: 30, writableBytes: 30 });
    t.equal(queue.pop(chain), false, 'there is no more');
    t.equal(queue.fault, undefined);
  });
}

test('takes direct descriptors that an indirect table follows', async (t) => {
  const { driver, queue, chain } = rig();
  const table = 0x8000;
  driver.writeDescriptor(3, { address: 0x1000, length: 4, flags: descriptor.next, next: 5 });
  // A table is neither readable nor writable: its WRITE flag means nothing.
  driver.writeDescriptor(5, { address: table, length: 32, flags: descriptor.indirect | descriptor.write });
  driver.writeDescriptorAt(table, { address: 0x2000, length: 5, flags: descriptor.next, next: 1 });
  driver.writeDescriptorAt(table + 16, { address: 0x3000, length: 6, flags: descriptor.write });
  driver.offer(3);
  t.equal(queue.pop(chain), true);
  t.equal(chain.head, 3);
  t.strictSame(buffersOf(chain), [
    [0x1000, 4],
    [0x2000, 5],
    [0x3000, 6],
  ]);
});

test('drops empty buffers, wherever they are said to lie', async (t) => {
  const { driver, queue, chain } = rig();
  driver.addPlaced([
    { address: 0x1000, length: 4, writable: false },
    { address: 2 ** 52, length: 0, writable: false },
    { address: 0x2000, length: 0, writable: true },
    { address: 0x3000, length: 8, writable: true },
  ]);
  t.equal(queue.pop(chain), true);
  t.strictSame(buffersOf(chain), [
    [0x1000, 4],
    [0x3000, 8],
  ]);
});

test('takes a chain of as many buffers as the queue has entries, and one that ends with the last byte of RAM', async (t) => {
  const { driver, queue, chain } = rig();
  driver.addPlaced(Array.from({ length: 8 }, () => ({ address: ramBytes - 16, length: 16, writable: true })));
  t.equal(queue.pop(chain), true);
  t.equal(chain.count, 8);
});

type Fault = readonly [statement: string, reason: RegExp, arrange: (driver: MockQueue) => void];

const { next, write, indirect } = descriptor;
const faults: readonly Fault[] = [
  ['an avail index too far ahead', /avail index is 9/, (driver) => driver.setAvailIndex(9)],
  ['an avail index that goes back', /avail index is 65535/, (driver) => driver.setAvailIndex(-1)],
  ['a head that is no descriptor', /names descriptor 8 of 8/, (driver) => driver.offer(8)],
  [
    'a next descriptor that is none',
    /names 8 of 8 as the next/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0, length: 1, flags: next, next: 8 });
      driver.offer(0);
    },
  ],
  [
    'a chain that loops',
    /loops/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0, length: 1, flags: next, next: 1 });
      driver.writeDescriptor(1, { address: 0, length: 1, flags: next, next: 0 });
      driver.offer(0);
    },
  ],
  [
    'a chain of empty buffers that loops',
    /loops/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0, length: 0, flags: next, next: 0 });
      driver.offer(0);
    },
  ],
  [
    'a readable buffer behind a writable one',
    /readable buffer follows/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0, length: 1, flags: write | next, next: 1 });
      driver.writeDescriptor(1, { address: 0, length: 1 });
      driver.offer(0);
    },
  ],
  [
    'a buffer that ends behind RAM',
    /not in RAM/,
    (driver) => driver.addPlaced([{ address: ramBytes - 16, length: 17, writable: false }]),
  ],
  [
    'a buffer that wraps around the end of addresses',
    /not in RAM/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0xffff_ffff_ffff_fff0n, length: 0x20 });
      driver.offer(0);
    },
  ],
  [
    'a buffer of 4 GiB',
    /4294967295 bytes at 0x0 is not in RAM/,
    (driver) => driver.addPlaced([{ address: 0, length: 0xffff_ffff, writable: true }]),
  ],
  [
    'an address that is right only in its lower half',
    /not in RAM/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000_0000_0000_1000n, length: 16 });
      driver.offer(0);
    },
  ],
  [
    'an indirect descriptor in an indirect table',
    /holds an indirect/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 16, flags: indirect });
      driver.writeDescriptorAt(0x8000, { address: 0x8000, length: 16, flags: indirect });
      driver.offer(0);
    },
  ],
  [
    'an indirect descriptor with a next one',
    /follows an indirect/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 16, flags: indirect | next, next: 1 });
      driver.offer(0);
    },
  ],
  ...[0, 8, 17, 16 * 9, 0xffff_fff0].map(
    (length): Fault => [
      `an indirect table of ${length} bytes`,
      /cannot have/,
      (driver) => {
        driver.writeDescriptor(0, { address: 0x8000, length, flags: indirect });
        driver.offer(0);
      },
    ],
  ),
  ...[BigInt(ramBytes - 16), 0xffff_ffff_ffff_fff0n, 1n << 40n].map(
    (address): Fault => [
      `an indirect table at 0x${address.toString(16)}`,
      /not in RAM/,
      (driver) => {
        driver.writeDescriptor(0, { address, length: 32, flags: indirect });
        driver.offer(0);
      },
    ],
  ),
  [
    'a next entry behind the end of an indirect table',
    /names 1 of 1 as the next/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 16, flags: indirect });
      driver.writeDescriptorAt(0x8000, { address: 0, length: 1, flags: next, next: 1 });
      driver.offer(0);
    },
  ],
  [
    'an indirect table that loops',
    /loops/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 32, flags: indirect });
      driver.writeDescriptorAt(0x8000, { address: 0, length: 1, flags: next, next: 1 });
      driver.writeDescriptorAt(0x8010, { address: 0, length: 1, flags: next, next: 0 });
      driver.offer(0);
    },
  ],
  [
    'a chain that is longer than the queue with its indirect table',
    /longer than the queue/,
    (driver) => {
      driver.writeDescriptor(0, { address: 0, length: 1, flags: next, next: 1 });
      driver.writeDescriptor(1, { address: 0x8000, length: 16 * 8, flags: indirect });
      for (let entry = 0; entry < 8; entry++) {
        const flags = entry < 7 ? next : 0;
        driver.writeDescriptorAt(0x8000 + 16 * entry, { address: 0, length: 1, flags, next: entry + 1 });
      }
      driver.offer(0);
    },
  ],
];

for (const [statement, reason, arrange] of faults) {
  test(`refuses ${statement}, for ever`, async (t) => {
    const { driver, queue, chain } = rig();
    arrange(driver);
    t.equal(queue.pop(chain), false);
    t.match(queue.fault, reason);
    const fault = queue.fault;

    // A request with which nothing is wrong comes too late.
    driver.setAvailIndex(0);
    driver.writeDescriptor(0, { address: 0, length: 1 });
    driver.offer(0);
    t.equal(queue.pop(chain), false);
    t.equal(queue.enableKicks(), false, 'there is nothing to drain');
    t.equal(queue.fault, fault);
  });
}

test('refuses an indirect descriptor that was not agreed on', async (t) => {
  const { driver, queue, chain } = rig({ indirect: false });
  driver.add([{ read: someBytes }], 'indirect');
  t.equal(queue.pop(chain), false);
  t.match(queue.fault, /not agreed on/);
});

test('refuses a chain of more than 4 GiB, and takes one of 4 GiB', async (t) => {
  // Reaching memory is asked of the memory: this one says yes, and has only the rings.
  const { memory, driver, chain } = rig();
  memory.reaches = (): boolean => true;
  const make = (): Virtqueue => new Virtqueue(memory, driver.setup, { indirect: true, eventIndex: false });
  const half = 0x8000_0000;
  const queue = make();
  driver.addPlaced([half, half].map((length) => ({ address: 0, length, writable: false })));
  t.equal(queue.pop(chain), true);
  t.equal(chain.readableBytes, 2 * half);
  driver.addPlaced([half, half, 1].map((length, at) => ({ address: 0, length, writable: at === 2 })));
  t.equal(queue.pop(chain), false);
  t.match(queue.fault, /longer than 4 GiB/);
});

test('still finishes what was taken before the ring broke', async (t) => {
  const { driver, queue, chain } = rig();
  driver.add([{ write: 8 }]);
  t.equal(queue.pop(chain), true);
  driver.offer(0xffff);
  const next = new DescriptorChain(8);
  t.equal(queue.pop(next), false);
  queue.push(chain.head, 8);
  t.equal(queue.publish(), true);
  t.equal(driver.collectOne().length, 8);
});

const size = 16;
const descriptors = gpa(0x1000);
const ring = gpa(0x2000);
const used = gpa(0x3000);
const setups: readonly (readonly [statement: string, reason: RegExp, setup: Partial<QueueSetup>])[] = [
  ['no entries', /cannot have 0 entries/, { size: 0 }],
  ['a size that is no power of two', /cannot have 12 entries/, { size: 12 }],
  ['a size that is no whole number', /cannot have 1.5 entries/, { size: 1.5 }],
  ['more than 32768 entries', /cannot have 65536 entries/, { size: 65536 }],
  ['descriptors that are not aligned', /descriptor table at 0x1008 is not aligned to 16/, { descriptors: gpa(0x1008) }],
  ['an avail ring that is not aligned', /avail ring at 0x2001 is not aligned to 2/, { driver: gpa(0x2001) }],
  ['a used ring that is not aligned', /used ring at 0x3002 is not aligned to 4/, { device: gpa(0x3002) }],
  ['descriptors that end behind RAM', /descriptor table of 256 bytes/, { descriptors: gpa(ramBytes - 16 * size + 16) }],
  ['an avail ring that ends behind RAM', /avail ring of 38 bytes/, { driver: gpa(ramBytes - 6 - 2 * size + 2) }],
  ['a used ring that ends behind RAM', /used ring of 134 bytes/, { device: gpa(ramBytes - 6 - 8 * size + 2) }],
  ['rings at the end of addresses', /not in RAM/, { descriptors: gpa(2 ** 64 - 4096) }],
];

for (const [statement, reason, change] of setups) {
  test(`is not set up with ${statement}`, async (t) => {
    const { memory } = rig();
    const setup = { size, descriptors, driver: ring, device: used, ...change };
    t.throws(() => new Virtqueue(memory, setup, { indirect: true, eventIndex: true }), VirtqueueError);
    t.throws(() => new Virtqueue(memory, setup, { indirect: true, eventIndex: true }), { message: reason });
  });
}

test('can be set up at the very end of RAM', async (t) => {
  const { memory } = rig();
  const make = (change: Partial<QueueSetup>): Virtqueue =>
    new Virtqueue(memory, { size: 2, descriptors, driver: ring, device: used, ...change }, eventFeatures);
  t.equal(make({ descriptors: gpa(ramBytes - 32) }).size, 2);
  t.equal(make({ driver: gpa(ramBytes - 10) }).size, 2);
  t.equal(make({ device: gpa(ramBytes - 24) }).size, 2);
});
const eventFeatures = { indirect: true, eventIndex: true };

for (const [statement, place] of [
  ['the avail ring', (driver: MockQueue) => driver.setup.driver],
  ['the descriptors', (driver: MockQueue) => driver.setup.descriptors],
] as const) {
  test(`bears a used ring that lies over ${statement}`, async (t) => {
    const { memory, driver, chain } = rig();
    const device = gpa(Math.ceil(place(driver) / 4) * 4);
    const queue = new Virtqueue(memory, { ...driver.setup, device }, { indirect: true, eventIndex: true });
    for (let round = 0; round < 1000 && queue.fault === undefined; round++) {
      driver.writeDescriptor(0, { address: 0, length: 8, flags: write });
      driver.offer(0);
      let taken = 0;
      while (queue.pop(chain)) {
        taken++;
        queue.push(chain.head, 0xffff_ffff);
      }
      t.ok(taken <= queue.size, 'no more than there can be');
      queue.publish();
      queue.enableKicks();
    }
  });
}

test('takes no more requests than it has entries before it publishes, however many a driver shows', async (t) => {
  const { driver, queue, chain } = rig();
  driver.writeDescriptor(0, { address: 0, length: 8, flags: write });
  let taken = 0;
  driver.offer(0);
  while (queue.pop(chain)) {
    taken++;
    queue.push(chain.head, 0);
    driver.offer(0); // a driver that does not wait for the answer
    if (taken > 100) break;
  }
  t.equal(taken, 8);
  t.match(queue.fault, /too far/);
});

test('counts what is in flight when it looks how far the driver is', async (t) => {
  const { driver, queue, chain } = rig();
  for (let count = 0; count < 4; count++) driver.add([{ read: someBytes }]);
  while (queue.pop(chain));
  driver.setAvailIndex(2); // back, by less than the size
  t.equal(queue.pop(chain), false);
  t.match(queue.fault, /avail index is 2, too far from 4/);
});

test('reads each word of an indirect table once', async (t) => {
  const { memory, driver, queue, chain } = rig();
  driver.add([{ read: someBytes }, { write: 4 }], 'indirect');
  const reads: number[] = [];
  const locate = memory.locate.bind(memory);
  memory.locate = (address, length, place) => {
    const found = locate(address, length, place);
    const { view } = place;
    const getUint32 = (at: number, littleEndian?: boolean): number => {
      reads.push(at);
      return view.getUint32(at, littleEndian);
    };
    place.view = Object.assign(Object.create(view), { getUint32 });
    return found;
  };
  t.equal(queue.pop(chain), true);
  t.equal(reads.length, 8);
  t.equal(new Set(reads).size, 8);
});

test('what the driver changes after a request was taken is not seen', async (t) => {
  const { driver, queue, chain } = rig();
  const head = driver.addPlaced([{ address: 0x5000, length: 4, writable: false }]);
  t.equal(queue.pop(chain), true);
  driver.writeDescriptor(head, { address: 2 ** 50, length: 0xffff_ffff, flags: indirect });
  t.strictSame(buffersOf(chain), [[0x5000, 4]]);
});

test('shows the driver nothing that was not published', async (t) => {
  const { driver, queue, chain } = rig();
  const heads = [driver.add([{ write: 4 }]), driver.add([{ write: 4 }])];
  while (queue.pop(chain)) queue.push(chain.head, 3);
  t.equal(driver.usedIndex, 0);
  t.equal(queue.publish(), true);
  t.equal(driver.usedIndex, 2);
  t.strictSame(
    driver.collect().map(({ head, length }) => [head, length]),
    heads.map((head) => [head, 3]),
  );
  t.equal(queue.publish(), false, 'there is nothing new');
});

test('gives requests back in another order than it took them', async (t) => {
  const { driver, queue, chain } = rig();
  const heads = [1, 2, 3].map((length) => driver.add([{ write: length }]));
  while (queue.pop(chain));
  for (const head of [...heads].reverse()) queue.push(head, 1);
  queue.publish();
  t.strictSame(
    driver.collect().map(({ head }) => head),
    [...heads].reverse(),
  );
});

test('takes a request again that was given back', async (t) => {
  const { driver, queue, chain } = rig();
  const heads = [1, 2, 3].map((length) => driver.add([{ write: length }]));
  const taken = (): number[] => {
    const found: number[] = [];
    while (queue.pop(chain)) found.push(chain.head);
    return found;
  };
  t.strictSame(taken(), heads);
  queue.undoPop(2);
  t.strictSame(taken(), heads.slice(1));
  queue.undoPop(3);
  t.strictSame(queue.position, { nextAvail: 0, nextUsed: 0, signalled: 0 });
  t.strictSame(taken(), heads);
});

test('gives requests back over the wrap of its counter', async (t) => {
  const { driver, queue, chain } = rig();
  driver.startAt(0xffff);
  queue.position = { nextAvail: 0xffff, nextUsed: 0xffff, signalled: 0xffff };
  const heads = [driver.add([{ write: 1 }]), driver.add([{ write: 1 }])];
  while (queue.pop(chain));
  queue.undoPop(2);
  t.equal(queue.position.nextAvail, 0xffff);
  t.equal(queue.pop(chain), true);
  t.equal(chain.head, heads[0]);
});

for (const eventIndex of [false, true]) {
  test(`goes on past 2^16 requests${eventIndex ? ' with event index' : ''}`, async (t) => {
    const { driver, queue, chain } = rig({ eventIndex });
    driver.startAt(0xfff0);
    queue.position = { nextAvail: 0xfff0, nextUsed: 0xfff0, signalled: 0xfff0 };
    if (eventIndex) driver.setUsedEvent(0xfff0);
    for (let round = 0; round < 40; round++) {
      queue.enableKicks();
      const head = driver.add([{ write: 2 }]);
      t.equal(driver.wantsKick(), true, `the device waits for request ${round}`);
      t.equal(queue.pop(chain), true);
      t.equal(chain.head, head);
      queue.push(head, 2);
      t.equal(queue.publish(), true, `the driver waits for answer ${round}`);
      t.equal(driver.collectOne().head, head);
    }
    t.strictSame(queue.position, { nextAvail: 24, nextUsed: 24, signalled: 24 });
  });
}

test('fills its rings to the last entry, around and around', async (t) => {
  const { driver, queue, chain } = rig({ size: 4 });
  for (let round = 0; round < 20; round++) {
    const heads = [1, 2, 3, 4].map((length) => driver.add([{ write: length }]));
    while (queue.pop(chain)) queue.push(chain.head, chain.writableBytes);
    queue.publish();
    t.strictSame(
      driver.collect().map(({ head, length }) => [head, length]),
      heads.map((head, at) => [head, at + 1]),
    );
  }
});

test('has one entry if that is what the driver wants', async (t) => {
  const { driver, queue, chain } = rig({ size: 1 });
  for (let round = 0; round < 5; round++) {
    driver.add([{ write: 1 }]);
    t.equal(queue.pop(chain), true);
    queue.push(chain.head, 1);
    queue.publish();
    t.equal(driver.collectOne().length, 1);
  }
});

/** Uses `count` requests in one batch; whether the driver is to be interrupted. */
function batch({ driver, queue, chain }: Rig, count: number): boolean {
  for (let added = 0; added < count; added++) driver.add([{ write: 1 }]);
  while (queue.pop(chain)) queue.push(chain.head, 1);
  return queue.publish();
}

test('without event index interrupts unless the driver says that it does not want that', async (t) => {
  const parts = rig();
  t.equal(batch(parts, 1), true);
  parts.driver.setAvailFlags(1);
  t.equal(batch(parts, 1), false);
  parts.driver.setAvailFlags(0);
  t.equal(batch(parts, 1), true);
});

test('with event index interrupts when the batch holds the entry that the driver waits for', async (t) => {
  for (const start of [0, 0xfffe]) {
    for (const [event, expected] of [
      [-1, false],
      [0, true],
      [1, true],
      [2, true],
      [3, false],
      [0x8000, false],
    ] as const) {
      const parts = rig({ eventIndex: true });
      parts.driver.startAt(start);
      parts.queue.position = { nextAvail: start, nextUsed: start, signalled: start };
      parts.driver.setUsedEvent(start + event);
      parts.driver.setAvailFlags(1); // means nothing now
      t.equal(batch(parts, 3), expected, `entries ${start} to ${start + 2}, waiting for ${start + event}`);
    }
  }
});

test('without event index the flag of the used ring says whether to kick', async (t) => {
  const { driver, queue, chain } = rig();
  queue.disableKicks();
  t.equal(driver.usedFlags, 1);
  driver.add([{ write: 1 }]);
  t.equal(driver.wantsKick(), false);
  t.equal(queue.enableKicks(), true, 'one has come: drain again');
  t.equal(driver.usedFlags, 0);
  queue.pop(chain);
  t.equal(queue.enableKicks(), false);
  driver.add([{ write: 1 }]);
  t.equal(driver.wantsKick(), true);
});

test('with event index asks for a kick for the next request, and for none while it drains', async (t) => {
  const { driver, queue, chain } = rig({ eventIndex: true });
  driver.add([{ write: 1 }]);
  t.equal(driver.wantsKick(), true, 'the first of all');
  queue.disableKicks();
  driver.add([{ write: 1 }]);
  t.equal(driver.wantsKick(), false);
  t.equal(queue.pop(chain), true);
  t.equal(queue.enableKicks(), true, 'the second has come: drain again');
  t.equal(queue.pop(chain), true);
  t.equal(queue.enableKicks(), false);
  t.equal(driver.availEvent, 2);
  driver.add([{ write: 1 }]);
  t.equal(driver.wantsKick(), true);
});

test('stands where it is put, and finds the rest there', async (t) => {
  const { memory, driver, queue, chain } = rig();
  for (let count = 0; count < 3; count++) driver.add([{ write: 1 }]);
  queue.pop(chain);
  queue.push(chain.head, 1);
  queue.publish();
  queue.pop(chain);
  const position = queue.position;
  t.strictSame(position, { nextAvail: 2, nextUsed: 1, signalled: 1 });

  const other = new Virtqueue(memory, driver.setup, { indirect: true, eventIndex: false });
  other.position = position;
  other.push(chain.head, 1);
  t.equal(other.pop(chain), true);
  t.equal(other.pop(new DescriptorChain(8)), false, 'there were no more than three');
  other.push(chain.head, 1);
  other.publish();
  t.equal(driver.collect().length, 3);
});

test('publishes what was pushed before it was put elsewhere', async (t) => {
  const { memory, driver, queue, chain } = rig();
  driver.add([{ write: 1 }]);
  queue.pop(chain);
  queue.push(chain.head, 1);
  t.strictSame(queue.position, { nextAvail: 1, nextUsed: 1, signalled: 0 });
  const other = new Virtqueue(memory, driver.setup, { indirect: true, eventIndex: false });
  other.position = queue.position;
  t.equal(other.publish(), true);
  t.equal(driver.collectOne().head, chain.head);
});

for (const [statement, position] of [
  ['with counters of more than 16 bits', { nextAvail: 0x1_0000, nextUsed: 0, signalled: 0 }],
  ['with counters below 0', { nextAvail: 0, nextUsed: -1, signalled: 0 }],
  ['with half a counter', { nextAvail: 0.5, nextUsed: 0, signalled: 0 }],
  ['with more in flight than it has entries', { nextAvail: 9, nextUsed: 0, signalled: 0 }],
  ['with more used than taken', { nextAvail: 1, nextUsed: 2, signalled: 0 }],
  ['with more shown than used', { nextAvail: 1, nextUsed: 0, signalled: 1 }],
] as const) {
  test(`cannot be put to stand ${statement}`, async (t) => {
    const { queue } = rig();
    t.throws(() => {
      queue.position = position;
    }, VirtqueueError);
    t.strictSame(queue.position, { nextAvail: 0, nextUsed: 0, signalled: 0 });
  });
}

test('marks the pages of the used ring that it writes, and no others', async (t) => {
  const { memory, chain } = rig();
  const size = 1024; // a used ring of more than two pages
  const setup = { size, descriptors: gpa(4 * pageSize), driver: gpa(10 * pageSize), device: gpa(20 * pageSize) };
  const dirty = (): number[] => {
    const pages: number[] = [];
    memory.regions[0]?.written.forEach((page) => {
      pages.push(page);
    });
    memory.regions[0]?.written.clear();
    return pages;
  };
  const write = (index: number): void => {
    memory.tracking = false;
    memory.writeU32(gpa(setup.descriptors + 8), 1);
    memory.writeU16(gpa(setup.driver + 2), index);
    memory.tracking = true;
  };
  for (const eventIndex of [false, true]) {
    const queue = new Virtqueue(memory, setup, { indirect: false, eventIndex });
    queue.position = { nextAvail: 600, nextUsed: 600, signalled: 600 };
    write(601);
    t.equal(queue.pop(chain), true);
    t.strictSame(dirty(), [], 'looking writes nothing');
    queue.push(0, 1);
    t.strictSame(dirty(), [21], 'the entry');
    queue.publish();
    t.strictSame(dirty(), [20], 'the index');
    queue.disableKicks();
    t.strictSame(dirty(), eventIndex ? [] : [20]);
    queue.enableKicks();
    t.strictSame(dirty(), [eventIndex ? 22 : 20], 'the event, or the flags');
  }
});
