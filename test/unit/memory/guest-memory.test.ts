import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { type IoVector, IoVectors } from '../../../src/host/mappings/io-vector.ts';
import { type Gpa, gpa, hva, MiB, pageSize } from '../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { bufferedGuestMemory, GuestMemory, GuestMemoryError } from '../../../src/memory/guest-memory.ts';
import { Ram } from '../../../src/memory/ram.ts';

const lowPages = 16;
const highStart = 0x10_0000;
const highPages = 8;

/** RAM at 0 and at 1 MiB, nothing between. */
function memoryWithHole(): GuestMemory {
  return bufferedGuestMemory([
    { start: gpa(0), sizeBytes: lowPages * pageSize, offset: 0 },
    { start: gpa(highStart), sizeBytes: highPages * pageSize, offset: lowPages * pageSize },
  ]);
}

/** Every way in, with the bytes it takes. */
const accesses: readonly (readonly [name: string, bytes: number, access: (memory: GuestMemory, at: Gpa) => unknown])[] =
  [
    ['readU8', 1, (memory, at) => memory.readU8(at)],
    ['readU16', 2, (memory, at) => memory.readU16(at)],
    ['readU32', 4, (memory, at) => memory.readU32(at)],
    ['readU64', 8, (memory, at) => memory.readU64(at)],
    ['slice', 24, (memory, at) => memory.slice(at, 24)],
    ['addressForRead', 24, (memory, at) => memory.addressForRead(at, 24)],
    ['writeU8', 1, (memory, at) => memory.writeU8(at, 0)],
    ['writeU16', 2, (memory, at) => memory.writeU16(at, 0)],
    ['writeU32', 4, (memory, at) => memory.writeU32(at, 0)],
    ['writeU64', 8, (memory, at) => memory.writeU64(at, 0n)],
    ['writableSlice', 24, (memory, at) => memory.writableSlice(at, 24)],
    ['fillableSlice', 24, (memory, at) => memory.fillableSlice(at, 24)],
    ['write', 24, (memory, at) => memory.write(at, new Uint8Array(24))],
    ['zero', 24, (memory, at) => memory.zero(at, 24)],
    ['addressForWrite', 24, (memory, at) => memory.addressForWrite(at, 24)],
  ];
const writes = accesses.filter(([name]) => /writ|fill|zero/i.test(name));
const reads = accesses.filter(([name]) => !/writ|fill|zero/i.test(name));

for (const [name, bytes, access] of accesses) {
  test(`${name} reaches the first and the last byte of each region, and none beyond`, async (t) => {
    const memory = memoryWithHole();
    const lowEnd = lowPages * pageSize;
    const highEnd = highStart + highPages * pageSize;
    for (const at of [0, lowEnd - bytes, highStart, highEnd - bytes]) {
      t.doesNotThrow(() => access(memory, gpa(at)), `0x${at.toString(16)}`);
    }
    const outside = [lowEnd - bytes + 1, lowEnd, highStart - 1, highStart - bytes, highEnd - bytes + 1, highEnd];
    const absurd = [-1, -bytes, Number.NaN, Infinity, -Infinity, 2 ** 32, 2 ** 53, 2 ** 64];
    for (const at of [...outside, ...absurd]) {
      t.throws(() => access(memory, gpa(at)), GuestMemoryError, `${at}`);
    }
  });

  test(`${name} reaches no half byte beyond`, async (t) => {
    t.throws(() => access(memoryWithHole(), gpa(lowPages * pageSize - bytes + 0.5)), GuestMemoryError);
    t.throws(() => access(memoryWithHole(), gpa(-0.5)), GuestMemoryError);
  });
}

test('slices refuse lengths that are no lengths', async (t) => {
  const memory = memoryWithHole();
  for (const length of [-1, -8, Number.NaN, Infinity, -Infinity, 2 ** 53]) {
    t.throws(() => memory.slice(gpa(16), length), GuestMemoryError, `slice of ${length}`);
    t.throws(() => memory.writableSlice(gpa(16), length), GuestMemoryError, `writableSlice of ${length}`);
    t.throws(() => memory.addressForWrite(gpa(16), length), GuestMemoryError, `addressForWrite of ${length}`);
  }
});

test('says which bytes are no RAM', async (t) => {
  t.throws(() => memoryWithHole().slice(gpa(0xfffff), 0x20), {
    code: 'GUEST_MEMORY',
    message: 'guest-physical [0xfffff, +32) is not RAM',
    address: 0xfffff,
    length: 0x20,
  });
});

test('reads what was written, little-endian, in every width', async (t) => {
  const memory = memoryWithHole();
  memory.writeU64(gpa(0x100), 0x8877_6655_4433_2211n);
  t.equal(memory.readU8(gpa(0x101)), 0x22);
  t.equal(memory.readU16(gpa(0x102)), 0x4433);
  t.equal(memory.readU32(gpa(0x104)), 0x8877_6655);
  t.equal(memory.readU64(gpa(0x100)), 0x8877_6655_4433_2211n);
  memory.writeU32(gpa(0x100), 0xffff_ffff);
  memory.writeU16(gpa(0x106), 0xabcd);
  memory.writeU8(gpa(0x105), 0x12);
  t.equal(memory.readU64(gpa(0x100)), 0xabcd_1255_ffff_ffffn);
});

test('gives slices of the memory itself', async (t) => {
  const memory = memoryWithHole();
  const slice = memory.slice(gpa(highStart + 10), 4);
  memory.write(gpa(highStart + 8), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  t.strictSame([...slice], [3, 4, 5, 6]);
  memory.zero(gpa(highStart + 11), 2);
  t.strictSame([...slice], [3, 0, 0, 6]);
});

test('contains tells what lies whole in one region', async (t) => {
  const memory = memoryWithHole();
  t.equal(memory.contains(0, lowPages * pageSize), true);
  t.equal(memory.contains(0, lowPages * pageSize + 1), false);
  t.equal(memory.contains(highStart - 1, 2), false);
  t.equal(memory.contains(Number.NaN, 1), false);
  t.equal(memory.contains(-1, 1), false);
});

test('reaches tells what can be accessed in one piece', async (t) => {
  const memory = memoryWithHole();
  t.equal(memory.reaches(0, lowPages * pageSize), true);
  t.equal(memory.reaches(0, lowPages * pageSize + 1), false);
  t.equal(memory.reaches(highStart - 1, 2), false);
  for (const address of [Number.NaN, -1, 2 ** 53, 2 ** 64]) t.equal(memory.reaches(address, 1), false, `${address}`);
  t.equal(memory.reaches(0, -1), false);
  const windowed = windowedMemory();
  t.equal(windowed.contains(0x10_0000, 16 * pageSize), true);
  t.equal(windowed.reaches(0x10_0000, 16 * pageSize), false, 'longer than a window');
  t.equal(windowed.reaches(0x10_0000 + 12 * pageSize, 4 * pageSize), true);
});

for (const [name, bytes, access] of writes) {
  test(`${name} marks the pages it writes while tracking is on`, async (t) => {
    const memory = memoryWithHole();
    access(memory, gpa(0));
    t.equal(memory.regions[0]?.written.count, 0, 'not before');
    memory.tracking = true;
    access(memory, gpa(highStart + 3 * pageSize - bytes));
    t.equal(memory.regions[0]?.written.count, 0, 'only in its own region');
    t.equal(memory.regions[1]?.written.count, 1, 'not the page behind');
    t.equal(memory.regions[1]?.written.has(2), true);
    access(memory, gpa(highStart + 4 * pageSize - 1 + (bytes === 1 ? 1 : 0)));
    t.equal(memory.regions[1]?.written.has(4), true, 'also the page of its last byte');
    memory.tracking = false;
    access(memory, gpa(0));
    t.equal(memory.regions[0]?.written.count, 0, 'not afterwards');
  });

  test(`${name} marks nothing when it is refused`, async (t) => {
    const memory = memoryWithHole();
    memory.tracking = true;
    t.throws(() => access(memory, gpa(lowPages * pageSize - bytes + 1)));
    t.equal(memory.regions[0]?.written.count, 0);
  });
}

for (const [name, , access] of reads) {
  test(`${name} leaves no mark`, async (t) => {
    const memory = memoryWithHole();
    memory.tracking = true;
    access(memory, gpa(0));
    t.equal(memory.regions[0]?.written.count, 0);
  });
}

/** One region of 16 pages in windows of 8 pages that overlap by half. */
function windowedMemory(host = 0x7000_0000): GuestMemory {
  const all = new Uint8Array(16 * pageSize);
  const windows = [0, 4, 8].map((page) => ({
    offset: page * pageSize,
    bytes: all.subarray(page * pageSize, (page + 8) * pageSize),
  }));
  return new GuestMemory([
    {
      start: gpa(0x10_0000),
      sizeBytes: 16 * pageSize,
      offset: 0,
      address: hva(host),
      windows,
      written: new DirtyBitmap(16),
    },
  ]);
}

test('finds a window for whatever is at most half a window long', async (t) => {
  const memory = windowedMemory();
  for (let page = 0; page + 4 <= 16; page++) {
    t.equal(memory.slice(gpa(0x10_0000 + page * pageSize), 4 * pageSize).length, 4 * pageSize, `from page ${page}`);
  }
  t.throws(() => memory.slice(gpa(0x10_0000), 9 * pageSize), GuestMemoryError);
});

test('marks and addresses count from the region, whichever window served', async (t) => {
  const memory = windowedMemory();
  memory.tracking = true;
  memory.writeU8(gpa(0x10_0000 + 13 * pageSize), 1);
  t.equal(memory.regions[0]?.written.has(13), true);
  t.equal(memory.regions[0]?.written.count, 1);
  t.equal(memory.addressForRead(gpa(0x10_0000 + 13 * pageSize), 8), 0x7000_0000 + 13 * pageSize);
  t.equal(memory.addressForWrite(gpa(0x10_0000 + 12 * pageSize), 8), 0x7000_0000 + 12 * pageSize);
});

test('no bytes are RAM where RAM is, and reach to its very end', async (t) => {
  const memory = memoryWithHole();
  const end = lowPages * pageSize;
  for (const address of [16, end]) {
    t.equal(memory.contains(address, 0), true);
    t.equal(memory.reaches(address, 0), true);
    t.equal(memory.slice(gpa(address), 0).length, 0);
  }
  t.equal(memory.contains(16, -1), false);
  t.equal(memory.reaches(end + 1, 0), false);
});

/** Where {@link GuestMemory.locate} finds bytes, read from there. */
function located(memory: GuestMemory, address: number, length: number): readonly number[] | undefined {
  const place = { view: new DataView(new ArrayBuffer(0)), base: -1 };
  if (!memory.locate(address, length, place)) {
    return place.base === -1 && place.view.byteLength === 0 ? undefined : [];
  }
  return Array.from({ length }, (_, index) => place.view.getUint8(place.base + index));
}

test('locate says where bytes lie, and touches nothing where it finds none', async (t) => {
  const memory = memoryWithHole();
  const highEnd = highStart + highPages * pageSize;
  memory.write(gpa(0), Uint8Array.of(1, 2));
  memory.write(gpa(highStart), Uint8Array.of(3, 4));
  memory.write(gpa(highEnd - 2), Uint8Array.of(5, 6));
  t.strictSame(located(memory, 0, 2), [1, 2]);
  t.strictSame(located(memory, highStart, 2), [3, 4]);
  t.strictSame(located(memory, highEnd - 2, 2), [5, 6]);
  t.strictSame(located(memory, highEnd, 0), []);
  for (const [address, length] of [
    [-1, 1],
    [lowPages * pageSize - 1, 2],
    [highStart - 1, 2],
    [highEnd - 1, 2],
    [8, -1],
    [Number.NaN, 1],
  ] as const) {
    t.equal(located(memory, address, length), undefined, `[${address}, +${length})`);
  }
});

test('low memory ends where the region that begins at 0 does', async (t) => {
  t.equal(memoryWithHole().lowEnd, lowPages * pageSize);
  t.equal(new GuestMemory([]).lowEnd, 0);
});

test('long stretches of ordinary buffers are written, moved and zeroed', async (t) => {
  const memory = memoryWithHole();
  const length = 2 * pageSize;
  memory.write(gpa(highStart), new Uint8Array(length).fill(7));
  memory.move(gpa(highStart + 1), gpa(highStart), length);
  t.ok(memory.slice(gpa(highStart), length + 1).every((byte) => byte === 7));
  memory.zero(gpa(highStart + 1), length);
  t.strictSame([...memory.slice(gpa(highStart), length + 2)], [7, ...Array(length + 1).fill(0)]);
});

test('has a mark for each page, and says whether marks are made', async (t) => {
  const memory = memoryWithHole();
  t.strictSame(
    memory.regions.map(({ written }) => written.pages),
    [lowPages, highPages],
  );
  t.equal(memory.tracking, false);
  memory.tracking = true;
  t.equal(memory.tracking, true);
});

test('marks what something else wrote, once it says so', async (t) => {
  const memory = memoryWithHole();
  memory.tracking = true;
  memory.markWritten(gpa(highStart + 2 * pageSize - 1), 2);
  t.strictSame(
    [1, 2, 3].map((page) => memory.regions[1]?.written.has(page)),
    [true, true, false],
  );
  t.throws(() => memory.markWritten(gpa(lowPages * pageSize - 1), 2), GuestMemoryError);
});

test('gathers host addresses of what lies behind a guest address, in 64 bits', async (t) => {
  const vectors = new IoVectors(1, 2);
  t.teardown(() => vectors.close());
  const [vector] = vectors.vectors as [IoVector];
  const host = 0x7fff_8000_0000;
  const memory = windowedMemory(host);
  const addresses = Float64Array.of(0, 0x10_0000 + 12 * pageSize);

  t.equal(memory.gather(addresses, 1, 8, 4 * pageSize - 8, vector), true);
  t.equal(vector.addressOf(0), host + 12 * pageSize + 8);
  t.equal(vector.lengthOf(0), 4 * pageSize - 8);
  t.equal(memory.gather(Float64Array.of(0x10_0000), 0, 0, 1, vector), true);
  t.equal(vector.addressOf(1), host);
  t.equal(memory.gather(addresses, 1, 0, 1, vector), false, 'there is no room for a third');

  vector.clear();
  for (const [address, offset, length] of [
    [0x10_0000, -1, 1],
    [0x10_0000 + 16 * pageSize - 8, 0, 9],
    [0x10_0000, 0, 9 * pageSize],
  ] as const) {
    t.throws(() => memory.gather(Float64Array.of(address), 0, offset, length, vector), GuestMemoryError);
  }
  t.equal(vector.count, 0);
});

test('an area that is about to be filled has its pages at once, and no others', async (t) => {
  const ram = new Ram(64 * MiB, 'shared');
  t.teardown(() => ram.close());
  const residentBytes = (): number =>
    Number(/^RssShmem:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
  const before = residentBytes();
  const start = gpa(pageSize + 100);
  t.equal(ram.memory.fillableSlice(gpa(40 * MiB + 100), 24).length, 24);
  t.equal(residentBytes(), before, 'not for part of a page');
  ram.memory.fillableSlice(start, 8 * pageSize).fill(7, 0, 1);
  // 7 whole pages lie in it, and the page of its first byte was touched just now.
  t.equal(residentBytes() - before, 8 * pageSize);
  t.equal(ram.memory.readU8(start), 7);
});
