import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'tap';
import { AnonymousMapping, LowMapping, MemfdMapping, viewWindows } from '../../../src/host/mapping.ts';

const pageSize = 4096;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

function isMapped(address: number): boolean {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .some((line) => {
      const [start = '0', end = '0'] = (line.split(' ')[0] ?? '').split('-');
      return Number(`0x${start}`) <= address && address < Number(`0x${end}`);
    });
}

for (const [what, make] of [
  ['shared memory', () => new MemfdMapping('test', 64 * pageSize)],
  ['private memory', () => new AnonymousMapping('test', 64 * pageSize)],
  ['low memory', () => new LowMapping('test', 64 * pageSize)],
] as const) {
  test(`${what} begins as zeros, keeps what is written, and is given back`, async (t) => {
    const before = descriptors();
    const mapping = make();
    const [window] = viewWindows(mapping.address, mapping.sizeBytes);
    const bytes = new Uint8Array(window?.buffer ?? new ArrayBuffer(0));
    t.equal(bytes.length, 64 * pageSize);
    t.ok(bytes.every((byte) => byte === 0));
    bytes[12345] = 7;
    t.equal(new Uint8Array(viewWindows(mapping.address, mapping.sizeBytes)[0]?.buffer as ArrayBuffer)[12345], 7);

    mapping.close();
    mapping.close();

    t.equal(isMapped(mapping.address), false);
    t.equal(descriptors(), before);
  });
}

test('low memory lies below 2 GiB', async (t) => {
  const mapping = new LowMapping('test', 5 * pageSize);
  t.teardown(() => mapping.close());
  t.ok(mapping.address + mapping.sizeBytes <= 2 ** 31);
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

test('one window covers what a buffer can hold', async (t) => {
  const mapping = new MemfdMapping('test', 8 * pageSize);
  t.teardown(() => mapping.close());
  const windows = viewWindows(mapping.address, mapping.sizeBytes, 8 * pageSize);
  t.strictSame(
    windows.map(({ offset, buffer }) => [offset, buffer.byteLength]),
    [[0, 8 * pageSize]],
  );
});

test('more windows overlap by half, so that half a window lies whole in one of them, wherever it begins', async (t) => {
  const sizeBytes = 21 * pageSize;
  const maxBytes = 8 * pageSize;
  const mapping = new MemfdMapping('test', sizeBytes);
  t.teardown(() => mapping.close());

  const windows = viewWindows(mapping.address, sizeBytes, maxBytes);

  t.ok(windows.every(({ buffer }) => buffer.byteLength <= maxBytes));
  for (let start = 0; start + maxBytes / 2 <= sizeBytes; start += 512) {
    const holder = windows.find(
      ({ offset, buffer }) => start >= offset && start + maxBytes / 2 <= offset + buffer.byteLength,
    );
    if (holder === undefined) t.fail(`nothing holds [${start}, +${maxBytes / 2})`);
  }
  // They are views of the same bytes.
  const [first, second] = windows.map(({ buffer }) => new Uint8Array(buffer));
  if (first !== undefined && second !== undefined) first[maxBytes / 2 + 5] = 99;
  t.equal(second?.[5], 99);
});
