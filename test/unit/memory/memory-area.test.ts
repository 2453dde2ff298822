import { test } from 'tap';
import { gpa, pageSize } from '../../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory, GuestMemoryError } from '../../../src/memory/guest-memory.ts';

const highStart = 0x10_0000;

function memoryWithHole(): GuestMemory {
  return bufferedGuestMemory([
    { start: gpa(0), sizeBytes: 16 * pageSize, offset: 0 },
    { start: gpa(highStart), sizeBytes: 8 * pageSize, offset: 16 * pageSize },
  ]);
}

test('is the memory at its address', async (t) => {
  const memory = memoryWithHole();
  const area = memory.area(gpa(highStart + 0x100), 64);
  t.match(area, { address: highStart + 0x100, length: 64 });
  memory.writeU32(gpa(highStart + 0x108), 0xdead_beef);
  t.equal(area.view.getUint32(area.base + 8, true), 0xdead_beef);
  area.view.setUint16(area.base + 62, 0x1234, true);
  t.equal(memory.readU16(gpa(highStart + 0x100 + 62)), 0x1234);
});

test('lies in RAM, whole', async (t) => {
  const memory = memoryWithHole();
  t.equal(memory.area(gpa(highStart), 8 * pageSize).length, 8 * pageSize);
  for (const [address, length] of [
    [16 * pageSize - 8, 9],
    [highStart - 1, 8],
    [highStart, 8 * pageSize + 1],
    [2 ** 53, 1],
    [-1, 1],
    [0, -1],
    [Number.NaN, 1],
  ] as const) {
    t.throws(() => memory.area(gpa(address), length), GuestMemoryError, `[${address}, +${length})`);
  }
});

test('marks what its owner wrote, while somebody keeps track', async (t) => {
  const memory = memoryWithHole();
  const area = memory.area(gpa(highStart + 2 * pageSize - 16), 3 * pageSize);
  const [low, high] = memory.regions.map((region) => region.written);
  const pages = (): number[] => {
    const marked: number[] = [];
    high?.forEach((page) => {
      marked.push(page);
    });
    high?.clear();
    return marked;
  };
  area.mark(0, 32);
  t.strictSame(pages(), []);
  memory.tracking = true;
  area.mark(0, 16);
  t.strictSame(pages(), [1]);
  area.mark(15, 2);
  t.strictSame(pages(), [1, 2]);
  area.mark(16 + 2 * pageSize, 1);
  t.strictSame(pages(), [4]);
  memory.tracking = false;
  area.mark(0, 1);
  t.strictSame(pages(), []);
  t.equal(low?.count, 0);
});
