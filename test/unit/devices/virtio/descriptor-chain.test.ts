import { test } from 'tap';
import { DescriptorChain } from '../../../../src/devices/virtio/descriptor-chain.ts';
import { IoVectors } from '../../../../src/host/mappings/io-vector.ts';
import { gpa, pageSize } from '../../../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../../../src/memory/guest-memory.ts';

const ramStart = 0x10_0000;

function ram(): GuestMemory {
  const memory = bufferedGuestMemory([{ start: gpa(ramStart), sizeBytes: 16 * pageSize, offset: 0 }]);
  memory.write(
    gpa(ramStart),
    Uint8Array.from({ length: 16 * pageSize }, (_, index) => index % 251),
  );
  return memory;
}

type Buffer = readonly [offset: number, length: number];

/** A chain of buffers at offsets of RAM. */
function chainOf(readable: readonly Buffer[], writable: readonly Buffer[] = []): DescriptorChain {
  const chain = new DescriptorChain(8);
  chain.clear(5);
  for (const [offset, length] of [...readable, ...writable]) {
    chain.addresses[chain.count] = ramStart + offset;
    chain.lengths[chain.count++] = length;
  }
  // What an earlier request left there.
  chain.addresses[chain.count] = ramStart + 15 * pageSize;
  chain.lengths[chain.count] = 100;
  chain.readable = readable.length;
  chain.readableBytes = readable.reduce((sum, [, length]) => sum + length, 0);
  chain.writableBytes = writable.reduce((sum, [, length]) => sum + length, 0);
  return chain;
}

/** What lies at the offsets that buffers cover, one after the other. */
function stream(buffers: readonly Buffer[]): number[] {
  return buffers.flatMap(([offset, length]) => Array.from({ length }, (_, index) => (offset + index) % 251));
}

const readable: readonly Buffer[] = [
  [100, 5],
  [5000, 1],
  [300, 10],
];
const writable: readonly Buffer[] = [
  [8000, 3],
  [2 * pageSize - 2, 4],
  [9000, 7],
];

test('reads any part of the readable stream, however it is cut', async (t) => {
  const memory = ram();
  const chain = chainOf(readable, writable);
  const whole = stream(readable);
  for (let from = 0; from <= whole.length + 1; from++) {
    for (let length = 0; length <= whole.length + 2; length++) {
      const target = new Uint8Array(length);
      const expected = whole.slice(from, from + length);
      const copied = chain.read(memory, from, target);
      if (copied !== expected.length) t.fail(`${copied} bytes of [${from}, +${length})`);
      if (String([...target.subarray(0, copied)]) !== String(expected)) t.fail(`[${from}, +${length}) is ${target}`);
    }
  }
  t.pass('every part');
});

test('writes any part of the writable stream, and nothing else', async (t) => {
  const chain = chainOf(readable, writable);
  const places = writable.flatMap(([offset, length]) => Array.from({ length }, (_, index) => offset + index));
  for (let from = 0; from <= places.length + 1; from++) {
    for (let length = 0; length <= places.length + 2; length += 3) {
      const memory = ram();
      const expected = [...memory.slice(gpa(ramStart), 16 * pageSize)];
      const room = places.slice(from, from + length);
      for (const place of room) expected[place] = 255;
      if (chain.write(memory, from, new Uint8Array(length).fill(255)) !== room.length) t.fail(`[${from}, +${length})`);
      if (Buffer.compare(memory.slice(gpa(ramStart), 16 * pageSize), Buffer.from(expected)) !== 0) {
        t.fail(`[${from}, +${length}) was written elsewhere`);
      }
    }
  }
  t.pass('every part');
});

test('gathers any part of a stream as ranges of host memory', async (t) => {
  const vectors = new IoVectors(1, 8);
  try {
    const [vector] = vectors.vectors;
    if (vector === undefined) throw new Error('no vector');
    const memory = ram();
    const chain = chainOf(readable, writable);
    const ranges = (): number[][] =>
      Array.from({ length: vector.count }, (_, index) => [vector.addressOf(index), vector.lengthOf(index)]);

    // Ordinary buffers have no address: host addresses count from the start of RAM.
    t.equal(chain.gatherReadable(memory, 0, 16, vector), true);
    t.strictSame(ranges(), readable);
    vector.clear();
    t.equal(chain.gatherReadable(memory, 3, 5, vector), true);
    t.strictSame(ranges(), [
      [103, 2],
      [5000, 1],
      [300, 2],
    ]);
    vector.clear();
    t.equal(chain.gatherWritable(memory, 4, 8, vector), true);
    t.strictSame(ranges(), [
      [2 * pageSize - 1, 3],
      [9000, 5],
    ]);
    vector.clear();
    t.equal(chain.gatherReadable(memory, 6, 10, vector), true);
    t.strictSame(ranges(), [[300, 10]], 'no empty range of the buffer before');
    vector.clear();
    t.equal(chain.gatherReadable(memory, 0, 17, vector), false, 'there are only 16 bytes');
    vector.clear();
    t.equal(chain.gatherWritable(memory, 0, 15, vector), false, 'there are only 14 bytes');
    vector.clear();
    t.equal(chain.gatherReadable(memory, 16, 0, vector), true, 'nothing is always there');
    t.equal(vector.count, 0);
  } finally {
    vectors.close();
  }
});

test('gathers no more than the vector has room for', async (t) => {
  const vectors = new IoVectors(1, 2);
  try {
    const [vector] = vectors.vectors;
    if (vector === undefined) throw new Error('no vector');
    t.equal(chainOf(readable).gatherReadable(ram(), 0, 16, vector), false);
    vector.clear();
    t.equal(chainOf(readable).gatherReadable(ram(), 0, 6, vector), true);
  } finally {
    vectors.close();
  }
});

test('marks the pages of what was written through an address, and only those', async (t) => {
  const memory = ram();
  const chain = chainOf(
    [[0, 8]],
    [
      [3 * pageSize - 4, 4],
      [5 * pageSize - 4, 8],
      [9 * pageSize, 8],
    ],
  );
  const marked = (offset: number, length: number): number[] => {
    chain.markWritten(memory, offset, length);
    const pages: number[] = [];
    memory.regions[0]?.written.forEach((page) => {
      pages.push(page);
    });
    memory.regions[0]?.written.clear();
    return pages;
  };
  t.strictSame(marked(0, 20), [], 'nobody keeps track');
  memory.tracking = true;
  t.strictSame(marked(0, 20), [2, 4, 5, 9]);
  t.strictSame(marked(0, 4), [2]);
  t.strictSame(marked(4, 4), [4]);
  t.strictSame(marked(7, 2), [4, 5]);
  t.strictSame(marked(12, 100), [9]);
  t.strictSame(marked(3, 100), [2, 4, 5, 9], 'no byte behind a buffer');
  t.strictSame(marked(11, 1), [5], 'not the buffer behind');
  t.strictSame(marked(3, 0), []);
});

test('is empty for the next request', async (t) => {
  const chain = chainOf(readable, writable);
  chain.clear(3);
  t.match(chain, { head: 3, count: 0, readable: 0, readableBytes: 0, writableBytes: 0 });
  t.equal(chain.read(ram(), 0, new Uint8Array(8)), 0);
  t.equal(chain.write(ram(), 0, new Uint8Array(8)), 0);
});
