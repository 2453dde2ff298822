import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { test } from 'tap';
import { GiB, gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { CheckpointedMemory } from '../../../src/memory/checkpointed-memory.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { openFiles } from '../../support/open-files.ts';
import { randomNumbers } from '../../support/random.ts';
import { inThread } from '../../support/thread.ts';

function make(t: { teardown(clean: () => void): void }, sizeBytes = 16 * MiB, mostCopies?: number): CheckpointedMemory {
  const memory = new CheckpointedMemory(sizeBytes, mostCopies);
  t.teardown(() => memory.close());
  return memory;
}

/** Bytes of the guest's pages that are copies, and no longer the checkpoint's. */
function copiedBytes({ shared, memory }: CheckpointedMemory): number {
  let [bytes, inside] = [0, false];
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const start = /^([0-9a-f]+)-/.exec(line)?.[1];
    if (start !== undefined) {
      const offset = Number.parseInt(start, 16) - shared.address;
      inside = offset >= 0 && offset < memory.sizeBytes;
    } else if (inside) bytes += Number(/^Anonymous:\s+(\d+) kB/.exec(line)?.[1] ?? 0) * 1024;
  }
  return bytes;
}

test('goes back to its checkpoint where it is told to, and nowhere else', async (t) => {
  const memory = make(t);
  memory.write(10, new Uint8Array(2 * pageSize).fill(7));
  memory.memory.writeU8(gpa(10 * pageSize), 1);
  memory.memory.writeU8(gpa(11 * pageSize), 2);
  const dirty = new DirtyBitmap(memory.memory.sizeBytes / pageSize);
  dirty.mark(10);

  memory.rollBack([dirty]);

  t.equal(memory.memory.readU8(gpa(10 * pageSize)), 7);
  t.equal(memory.memory.readU8(gpa(11 * pageSize)), 2);
});

test('goes back above the 32-bit hole too', async (t) => {
  const memory = make(t, 3 * GiB + 16 * MiB);
  const page = (3 * GiB) / pageSize + 5;
  const address = gpa(4 * GiB + 5 * pageSize);
  memory.write(page, new Uint8Array(pageSize).fill(9));
  t.equal(memory.memory.readU8(address), 9);
  memory.memory.writeU8(address, 1);
  const dirty = memory.memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
  dirty[1]?.mark(5);
  memory.rollBack(dirty);
  t.equal(memory.memory.readU8(address), 9);
});

test('is the same RAM in another thread, and records what was written', async (t) => {
  const memory = make(t);
  memory.write(5, new Uint8Array(pageSize).fill(1));
  memory.memory.tracking = true;
  const seen = await inThread(new URL('./threads.ts', import.meta.url), 'writeRam', memory.shared, 0x5000, 22);
  t.equal(seen, 0x0101_0101);
  t.equal(memory.memory.readU32(gpa(0x5000)), 22);
  t.equal(memory.memory.regions[0]?.written.has(5), true);
});

test('refuses pages outside of RAM, and parts of pages', async (t) => {
  const memory = make(t);
  const pages = memory.memory.sizeBytes / pageSize;
  for (const first of [-1, pages, pages - 1, 2 ** 40, Number.NaN]) {
    t.throws(() => memory.write(first, new Uint8Array(2 * pageSize)), RangeError, `write to ${first}`);
    t.throws(() => memory.zero(first, 2), RangeError, `zeros at ${first}`);
  }
  t.throws(() => memory.write(0, new Uint8Array(100)), { message: /^100 bytes are not whole pages/ });
  t.throws(() => new CheckpointedMemory(4097), { message: /4097 bytes is not a whole number of pages/ });
});

test('gives back what it opened, also if it cannot be made', async (t) => {
  const descriptors = (): number => openFiles().length;
  const before = descriptors();
  const memory = new CheckpointedMemory(16 * MiB);
  memory.close();
  memory.close();
  t.throws(() => new CheckpointedMemory(2 ** 50), Error);
  // More than there is, of which the checkpoint can be had, and its guest only where the kernel promises anything.
  try {
    new CheckpointedMemory(Math.ceil((2 * totalmem()) / GiB) * GiB).close();
  } catch (error) {
    t.match(error, { code: 'ENOMEM' });
  }
  t.equal(descriptors(), before);
});

for (const mostCopies of [0, 8, 64]) {
  test(`every byte is the checkpoint's after each round, in either order (up to ${mostCopies} copies left)`, async (t) => {
    const random = randomNumbers(mostCopies + 1);
    const pages = 64;
    const memory = make(t, pages * pageSize, mostCopies);
    const checkpoint = Buffer.alloc(pages * pageSize);
    const written = new DirtyBitmap(pages);
    const guestWrites = (): void => {
      for (let writes = random(20); writes > 0; writes--) {
        const page = random(pages);
        memory.memory.writeU8(gpa(page * pageSize + random(pageSize)), random(256));
        written.mark(page);
      }
    };
    const checkpointChanges = (): void => {
      for (let changes = random(6); changes > 0; changes--) {
        const [first, value] = [random(pages), random(3)];
        const count = 1 + random(pages - first);
        if (value === 0) memory.zero(first, count);
        else memory.write(first, new Uint8Array(count * pageSize).fill(value));
        checkpoint.fill(value, first * pageSize, (first + count) * pageSize);
      }
    };
    for (let round = 0; round < 200; round++) {
      guestWrites();
      if (round % 2 === 0) checkpointChanges();
      memory.rollBack([written]);
      if (round % 2 === 1) checkpointChanges();
      written.clear();
      if (!Buffer.from(memory.memory.slice(gpa(0), pages * pageSize)).equals(checkpoint)) {
        t.fail(`round ${round}: not the checkpoint`);
        return;
      }
    }
    t.ok(checkpoint.some((byte) => byte !== 0));
  });
}

/** A guest writes pages [first, first + pages), which are rolled back; the pages of which there are copies then. */
function copiesAfter(memory: CheckpointedMemory, first: number, pages: number): number {
  const dirty = new DirtyBitmap(memory.memory.sizeBytes / pageSize);
  for (let page = first; page < first + pages; page++) memory.memory.writeU8(gpa(page * pageSize), 2);
  dirty.markBytes(first * pageSize, pages * pageSize);
  memory.rollBack([dirty]);
  return copiedBytes(memory) / pageSize;
}

test('leaves as many copies as it may, and counts anew once it has dropped them', async (t) => {
  const memory = make(t, 64 * MiB, 100);
  t.equal(copiesAfter(memory, 0, 100), 100, 'no more than it may');
  t.equal(copiesAfter(memory, 50, 50), 100, 'the same ones again');
  t.equal(copiesAfter(memory, 100, 1), 0, 'one too many: all are dropped');
  t.equal(copiesAfter(memory, 101, 100), 100, 'none of those counts any more');
});

test('leaves copies of an eighth of RAM if nothing else is said', async (t) => {
  const memory = make(t, 16 * MiB);
  t.equal(copiesAfter(memory, 0, 512), 512);
  t.equal(copiesAfter(memory, 512, 1), 0);
});

test('has a slot for each region, where the running guest is', async (t) => {
  const memory = make(t, 3 * GiB + 16 * MiB);
  const { address } = memory.shared;
  t.strictSame(memory.slots, [
    { slot: 0, guestAddress: 0, sizeBytes: 3 * GiB, hostAddress: address },
    { slot: 1, guestAddress: 4 * GiB, sizeBytes: 16 * MiB, hostAddress: address + 3 * GiB },
  ]);
});

test('makes no page zero, or all of them, and its own error of what the kernel cannot do', async (t) => {
  const memory = make(t);
  const pages = memory.memory.sizeBytes / pageSize;
  memory.write(0, new Uint8Array(memory.memory.sizeBytes).fill(1));
  memory.zero(3, 0);
  t.equal(memory.memory.readU8(gpa(3 * pageSize)), 1);
  memory.zero(0, pages);
  t.ok(Buffer.from(memory.memory.slice(gpa(0), memory.memory.sizeBytes)).equals(Buffer.alloc(pages * pageSize)));
  t.throws(() => memory.zero(0, -1), { name: 'RangeError', message: /pages \[0, \+-1\) .* 16777216 bytes/ });
  memory.close();
  t.throws(() => memory.zero(0, 1), { code: 'EBADF', message: /fallocate.*checkpoint|checkpoint.*fallocate/ });
});
