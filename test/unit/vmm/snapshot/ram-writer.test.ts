import { fstatSync, readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { test } from 'tap';
import type { Fd } from '../../../../src/host/libc/descriptors.ts';
import { pageSize } from '../../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../../src/memory/dirty-bitmap.ts';
import type { GuestMemory } from '../../../../src/memory/guest-memory.ts';
import { checksumOfHole, RamWriter } from '../../../../src/vmm/snapshot/ram-writer.ts';
import { chunkBytes, chunkPages } from '../../../../src/vmm/snapshot/snapshot-format.ts';
import { namelessFile } from '../../../support/nameless-file.ts';
import { bytesOf, fill, pagesOfRam } from '../../../support/snapshot-machine.ts';

const offset = pageSize;

/** Marks pages, counted without the hole. */
function marked(memory: GuestMemory, pages: readonly number[]): DirtyBitmap[] {
  const bitmaps = memory.regions.map(({ sizeBytes }) => new DirtyBitmap(sizeBytes / pageSize));
  for (const page of pages) {
    const index = memory.regions.findLastIndex((region) => region.offset <= page * pageSize);
    bitmaps[index]?.mark(page - (memory.regions[index]?.offset ?? 0) / pageSize);
  }
  return bitmaps;
}

function all(memory: GuestMemory): DirtyBitmap[] {
  return marked(
    memory,
    Array.from({ length: memory.sizeBytes / pageSize }, (_, page) => page),
  );
}

/** Runs the writer to its end; bytes written. */
function write(writer: RamWriter, dirty: readonly DirtyBitmap[]): number {
  let written = 0;
  for (const bytes of writer.write(dirty)) written += bytes;
  return written;
}

function checksums(writer: RamWriter): Uint32Array {
  const steps = writer.checksums();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

function content(fd: Fd): Buffer {
  return readFileSync(`/proc/self/fd/${fd}`).subarray(offset);
}

function checksumsOf(bytes: Buffer): number[] {
  return Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, chunk) =>
    crc32(bytes.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes)),
  );
}

function fileFor(t: Parameters<typeof namelessFile>[0], memory: GuestMemory): Fd {
  return namelessFile(t, offset + memory.sizeBytes);
}

for (const [name, low, high] of [
  ['in one piece', 4 * chunkPages, 0],
  ['on both sides of the 32-bit hole', 3 * chunkPages + 5, chunkPages + 2],
  ['that is no multiple of what has a checksum', 2 * chunkPages + 1, 0],
  ['of less than what has a checksum', 3, 0],
] as const) {
  test(`writes RAM ${name}, with its checksums`, async (t) => {
    const memory = pagesOfRam(low, high);
    fill(memory, 1, low + high - 2, 3);
    const fd = fileFor(t, memory);
    const writer = new RamWriter(memory, fd, offset);
    t.equal(write(writer, all(memory)), (low + high - 2) * pageSize);
    t.ok(content(fd).equals(bytesOf(memory)));
    t.strictSame([...checksums(writer)], checksumsOf(bytesOf(memory)));
    t.equal(writer.held.count, low + high);
    t.equal(writer.bytesInFile, (low + high - 2) * pageSize);
  });
}

test('leaves holes for zeros', async (t) => {
  const memory = pagesOfRam(64 * chunkPages);
  fill(memory, 0, 1, 1);
  fill(memory, 40 * chunkPages, 2, 1);
  const fd = fileFor(t, memory);
  const writer = new RamWriter(memory, fd, offset);
  write(writer, all(memory));
  t.equal(writer.bytesInFile, 3 * pageSize);
  t.ok(fstatSync(fd).blocks * 512 <= 4 * pageSize);
  t.strictSame([...checksums(writer)], checksumsOf(bytesOf(memory)));
});

test('RAM of nothing but zeros is one hole', async (t) => {
  const memory = pagesOfRam(2 * chunkPages + 3);
  const writer = new RamWriter(memory, fileFor(t, memory), offset);
  write(writer, all(memory));
  t.strictSame([...checksums(writer)], [checksumOfHole(16), checksumOfHole(16), checksumOfHole(3)]);
});

test('a page that becomes zero later is zero in the file, and one that was zero is not any more', async (t) => {
  const memory = pagesOfRam(3 * chunkPages);
  fill(memory, 0, 20, 1);
  const fd = fileFor(t, memory);
  const writer = new RamWriter(memory, fd, offset);
  write(writer, all(memory));
  fill(memory, 5, 1, 0);
  fill(memory, 30, 2, 9);
  t.equal(write(writer, marked(memory, [5, 30, 31])), 3 * pageSize);
  t.ok(content(fd).equals(bytesOf(memory)));
  t.strictSame([...checksums(writer)], checksumsOf(bytesOf(memory)));
});

test('holds what it was told to write, zeros too, and nothing else', async (t) => {
  const memory = pagesOfRam(2 * chunkPages, chunkPages);
  fill(memory, 0, 3 * chunkPages, 1);
  fill(memory, 7, 1, 0);
  const fd = fileFor(t, memory);
  const writer = new RamWriter(memory, fd, offset);
  write(writer, marked(memory, [6, 7, 8, 2 * chunkPages]));
  const held: number[] = [];
  writer.held.forEach((page) => {
    held.push(page);
  });
  t.strictSame(held, [6, 7, 8, 2 * chunkPages]);
  const expected = Buffer.alloc(memory.sizeBytes);
  for (const page of held) bytesOf(memory).copy(expected, page * pageSize, page * pageSize, (page + 1) * pageSize);
  t.ok(content(fd).equals(expected));
  t.strictSame([...checksums(writer)], checksumsOf(expected), 'the checksums are those of the file');
});

test('lets others have their turn', async (t) => {
  const memory = pagesOfRam(5000);
  fill(memory, 0, 5000, 1);
  const writer = new RamWriter(memory, fileFor(t, memory), offset);
  t.strictSame(
    [...writer.write(all(memory))].map((bytes) => bytes / pageSize),
    [1024, 1024, 1024, 1024, 904],
  );
  t.ok([...writer.checksums()].length >= 3);
});

test('says so when the file takes no more', async (t) => {
  const memory = pagesOfRam(1);
  fill(memory, 0, 1, 1);
  const writer = new RamWriter(memory, -1 as Fd, offset);
  t.throws(() => write(writer, all(memory)));
});
