import { readFileSync, writeSync } from 'node:fs';
import { test } from 'tap';
import {
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_NORESERVE,
  MAP_PRIVATE,
  mmap,
  munmap,
  noFile,
  PROT_READ,
  viewMemory,
} from '../../../../src/host/libc/memory.ts';
import {
  AnonymousMapping,
  LowMapping,
  MemfdMapping,
  SharedRange,
  windowsOf,
} from '../../../../src/host/mappings/mapping.ts';
import { namelessFile } from '../../../support/nameless-file.ts';
import { openFiles } from '../../../support/open-files.ts';

const pageSize = 4096;
const descriptors = (): number => openFiles().length;

/** Addresses that this process uses, in bytes. */
function mappedBytes(): number {
  return Number(/^VmSize:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

/** Memory that this process has, in bytes. */
function residentBytes(): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

const large = 64 * 1024 * 1024;

for (const [what, make] of [
  ['shared memory', () => new MemfdMapping('test', large)],
  ['private memory', () => new AnonymousMapping('test', large)],
  ['low memory', () => new LowMapping('test', large)],
] as const) {
  test(`${what} begins as zeros, keeps what is written, and is given back`, async (t) => {
    const before = descriptors();
    const mapping = make();
    const bytes = new Uint8Array(viewMemory(mapping.address, mapping.sizeBytes));
    t.equal(bytes.length, large);
    t.ok(bytes.subarray(-pageSize).every((byte) => byte === 0));
    bytes[12345] = 7;
    t.equal(new Uint8Array(viewMemory(mapping.address, mapping.sizeBytes))[12345], 7);

    const mapped = mappedBytes();
    mapping.close();
    mapping.close();

    t.ok(mapped - mappedBytes() > large / 2, `${mapped - mappedBytes()} bytes were given back`);
    t.equal(descriptors(), before);
  });
}

test('low memory lies below 2 GiB', async (t) => {
  const mapping = new LowMapping('test', 5 * pageSize);
  t.teardown(() => mapping.close());
  t.ok(mapping.address + mapping.sizeBytes <= 2 ** 31);
});

test('low memory is found where the kernel does not look for it', async (t) => {
  const taken: [number, number][] = [];
  t.teardown(() => {
    for (const [address, length] of taken) munmap(address, length);
  });
  // All of 1 to 2 GiB, as it is when threads have reserved it.
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT;
  for (let length = 2 ** 29; length >= pageSize; ) {
    try {
      taken.push([mmap(length, PROT_READ, flags, noFile, 0, 'test'), length]);
    } catch {
      length /= 2;
    }
  }
  for (const pages of [1, 1000]) {
    const mapping = new LowMapping('test', pages * pageSize);
    t.teardown(() => mapping.close());
    t.ok(mapping.address + mapping.sizeBytes <= 2 ** 31);
    t.strictSame(Buffer.from(viewMemory(mapping.address, mapping.sizeBytes)), Buffer.alloc(mapping.sizeBytes));
  }
  t.throws(() => new LowMapping('test', 2 ** 30), { code: 'ENOMEM' });
});

test('private memory lies where huge pages can', async (t) => {
  const mapping = new AnonymousMapping('test', 5 * pageSize);
  t.equal(mapping.address % (2 * 1024 * 1024), 0);
  mapping.close();
});

test('a size that no machine has is an error that leaves no descriptor', async (t) => {
  const before = descriptors();
  t.throws(() => new MemfdMapping('huge', 2 ** 52), { syscall: 'mmap', code: 'ENOMEM' });
  t.equal(descriptors(), before);
});

const bytesOf = (range: SharedRange): Uint8Array => new Uint8Array(range.buffer, range.start, range.sizeBytes);

test('a shared range begins as zeros, keeps what is written, and gives its pages back', async (t) => {
  const range = new SharedRange('test', large);
  t.equal(range.address % (2 * 1024 * 1024), 0, 'it lies where huge pages can');
  const bytes = bytesOf(range);
  t.ok(bytes.subarray(-pageSize).every((byte) => byte === 0));
  bytes.fill(7);
  const resident = residentBytes();
  t.equal(new Uint8Array(viewMemory(range.address, range.sizeBytes))[12345], 7, 'the buffer lies where it says');

  range.close();
  range.close();

  t.ok(resident - residentBytes() > large / 2, `${resident - residentBytes()} bytes were given back`);
  t.equal(bytes[12345], 0, 'the addresses stay with the buffer');
});

test('a file takes the place of part of a shared range, which can forget what was written to it', async (t) => {
  const file = namelessFile(t, 4 * pageSize);
  writeSync(file, Uint8Array.of(1, 2, 3), 0, 3, 2 * pageSize);
  const range = new SharedRange('test', 8 * pageSize);
  t.teardown(() => range.close());
  const bytes = bytesOf(range);
  bytes.fill(9);

  range.mapFile('private', file, 2 * pageSize, 4 * pageSize, 2 * pageSize);

  t.strictSame([...bytes.subarray(4 * pageSize, 4 * pageSize + 3)], [1, 2, 3]);
  t.equal(bytes[4 * pageSize - 1], 9);
  t.equal(bytes[6 * pageSize], 9);
  bytes[4 * pageSize] = 8;
  range.revert(4 * pageSize, pageSize);
  t.equal(bytes[4 * pageSize], 1);
});

test('what is written to a shared file is in the file', async (t) => {
  const file = namelessFile(t, 2 * pageSize);
  const range = new SharedRange('test', 2 * pageSize);
  t.teardown(() => range.close());
  range.mapFile('shared', file, 0);
  bytesOf(range)[pageSize] = 5;
  t.equal(readFileSync(`/proc/self/fd/${file}`)[pageSize], 5);
});

test('a shared range counts for nothing in the heap, so that no garbage is collected for it', async (t) => {
  const before = process.memoryUsage();
  const range = new SharedRange('test', 512 * 1024 * 1024);
  t.teardown(() => range.close());
  const { external } = process.memoryUsage();
  t.ok(external - before.external < 1024 * 1024, `external memory grew by ${external - before.external}`);
});

test('a shared range of a size that no machine has is an error', async (t) => {
  t.throws(() => new SharedRange('huge', 2 ** 52), { syscall: 'calloc', code: 'ENOMEM' });
});

test('one window covers what an array can hold', async (t) => {
  const bytes = new Uint8Array(8 * pageSize);
  const windows = windowsOf(bytes.length, (from, length) => bytes.subarray(from, from + length), 8 * pageSize);
  t.strictSame(
    windows.map((window) => [window.offset, window.bytes.length]),
    [[0, 8 * pageSize]],
  );
});

test('more windows overlap by half, so that half a window lies whole in one of them, wherever it begins', async (t) => {
  const all = new Uint8Array(21 * pageSize);
  const maxBytes = 8 * pageSize;

  const windows = windowsOf(all.length, (from, length) => all.subarray(from, from + length), maxBytes);

  t.ok(windows.every(({ bytes }) => bytes.length <= maxBytes));
  for (let start = 0; start + maxBytes / 2 <= all.length; start += 512) {
    const holder = windows.find(
      ({ offset, bytes }) => start >= offset && start + maxBytes / 2 <= offset + bytes.length,
    );
    if (holder === undefined) t.fail(`nothing holds [${start}, +${maxBytes / 2})`);
  }
  t.ok(windows.every(({ offset, bytes }) => bytes.byteOffset === all.byteOffset + offset));
});
