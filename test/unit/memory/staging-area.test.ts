import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { GiB, gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { bufferedGuestMemory } from '../../../src/memory/guest-memory.ts';
import { Ram } from '../../../src/memory/ram.ts';
import { StagingArea } from '../../../src/memory/staging-area.ts';

function rig(t: { teardown(clean: () => void): void }, sizeBytes: number) {
  const ram = new Ram(sizeBytes);
  t.teardown(() => ram.close());
  const staging = new StagingArea(sizeBytes / pageSize);
  t.teardown(() => staging.close());
  const dirty = ram.memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
  return { ram, staging, dirty };
}

const residentBytes = (): number =>
  Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;

test('holds the dirty pages of all regions, by number, as they were', async (t) => {
  const { ram, staging, dirty } = rig(t, 3 * GiB + 16 * MiB);
  const high = (3 * GiB) / pageSize;
  const addresses = new Map([
    [5, 0x5000],
    [6, 0x6000],
    [7, 0x7000],
    [63, 63 * pageSize],
    [high + 2, 4 * GiB + 0x2000],
  ]);
  for (const [page, address] of addresses) ram.memory.writeU32(gpa(address), page);
  for (const page of [5, 6, 7, 63]) dirty[0]?.mark(page);
  dirty[1]?.mark(2);

  t.equal(staging.copy(ram.memory, dirty), 5);
  for (const address of addresses.values()) ram.memory.writeU32(gpa(address), 0xffff_ffff);

  t.strictSame([...staging.numbers.subarray(0, staging.count)], [...addresses.keys()]);
  for (const [place, page] of [...addresses.keys()].entries()) {
    const bytes = staging.slice(place, 1);
    t.equal(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true), page);
    t.equal(bytes.length, pageSize);
  }
  t.equal(staging.slice(0, 5).length, 5 * pageSize);
});

test('stages anew each time, all of RAM if need be, and nothing', async (t) => {
  const { ram, staging, dirty } = rig(t, 4 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(4 * MiB).fill(7));
  dirty[0]?.markBytes(0, 4 * MiB);
  t.equal(staging.copy(ram.memory, dirty), 1024);
  t.ok(staging.slice(0, 1024).every((byte) => byte === 7));
  t.ok(staging.numbers.every((number, place) => number === place));
  dirty[0]?.clear();
  t.equal(staging.copy(ram.memory, dirty), 0);
  t.equal(staging.count, 0);
  t.throws(() => staging.slice(1024, 1), RangeError);
});

test('costs memory only when it is used or prepared, and gives it back', async (t) => {
  const before = residentBytes();
  const { staging } = rig(t, GiB);
  const used = (): number => residentBytes() - before;
  t.ok(used() < 32 * MiB, `${used()} bytes at first`);
  staging.prepare((128 * MiB) / pageSize);
  t.ok(used() > 120 * MiB, `${used()} bytes prepared`);
  t.ok(used() < 160 * MiB, `${used()} bytes prepared`);
  staging.trim(0);
  t.ok(used() < 32 * MiB, `${used()} bytes in the end`);
  staging.prepare((128 * MiB) / pageSize);
  staging.close();
  t.ok(used() < 32 * MiB, `${used()} bytes once it is closed`);
});

test('trimming takes what lies behind, and leaves what lies in front', async (t) => {
  const { ram, staging, dirty } = rig(t, 4 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(4 * MiB).fill(7));
  dirty[0]?.markBytes(0, 4 * MiB);
  staging.copy(ram.memory, dirty);
  staging.trim(2000);
  t.equal(staging.count, 1024, 'nothing lies behind its end');
  staging.trim(600);
  t.equal(staging.count, 600);
  t.ok(staging.slice(0, 600).every((byte) => byte === 7));
  t.ok(staging.slice(600, 424).every((byte) => byte === 0));
  staging.trim(800);
  t.equal(staging.count, 600);
});

test('writes nothing behind the pages that it stages', async (t) => {
  const { ram, staging, dirty } = rig(t, 4 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(4 * MiB).fill(7));
  dirty[0]?.mark(5);
  t.equal(staging.copy(ram.memory, dirty), 1);
  t.ok(staging.slice(1, 1023).every((byte) => byte === 0));
});

test('stages nothing of regions that RAM does not have, and refuses RAM that has no address', async (t) => {
  const { ram, staging, dirty } = rig(t, 4 * MiB);
  dirty[0]?.mark(5);
  const more = new DirtyBitmap(64);
  more.mark(1);
  t.equal(staging.copy(ram.memory, [...dirty, more]), 1);
  const buffered = bufferedGuestMemory([{ start: gpa(0), sizeBytes: 4 * MiB, offset: 0 }]);
  t.throws(() => staging.copy(buffered, dirty), TypeError);
});

test('gives adjacent pages as runs, each page once and in order', async (t) => {
  const { ram, staging, dirty } = rig(t, 16 * MiB);
  const runs: number[][] = [];
  const collect = (): number[][] => {
    runs.length = 0;
    staging.forEachRun((place, first, pages) => runs.push([place, first, pages]));
    return runs;
  };
  t.strictSame(collect(), []);
  for (const page of [0, 1, 2, 7, 9, 10]) dirty[0]?.mark(page);
  staging.copy(ram.memory, dirty);
  t.strictSame(collect(), [
    [0, 0, 3],
    [3, 7, 1],
    [4, 9, 2],
  ]);
  dirty[0]?.clear();
  dirty[0]?.mark(0);
  staging.copy(ram.memory, dirty);
  t.strictSame(collect(), [[0, 0, 1]], 'and none that was staged before');
});

test('another thread finds the staged pages and their numbers where it is told', async (t) => {
  const { ram, staging, dirty } = rig(t, 16 * MiB);
  for (const page of [3, 4000]) {
    dirty[0]?.mark(page);
    ram.memory.writeU32(gpa(page * pageSize), page);
  }
  staging.copy(ram.memory, dirty);
  const { bytes, start, capacity, numbers } = staging.shared;
  t.equal(capacity, 4096);
  t.equal(numbers.byteLength, 4 * 4096);
  t.strictSame([...new Uint32Array(numbers, 0, 2)], [3, 4000]);
  t.equal(new Uint32Array(bytes, start, 1)[0], 3);
  t.equal(new Uint32Array(bytes, start + pageSize, 1)[0], 4000);
});

test('what was staged goes into RAM where it was, and counts as written', async (t) => {
  const { ram, staging, dirty } = rig(t, 3 * GiB + 16 * MiB);
  const other = new Ram(3 * GiB + 16 * MiB);
  t.teardown(() => other.close());
  const lastLow = (3 * GiB) / pageSize - 1;
  const addresses = [5 * pageSize, 6 * pageSize, lastLow * pageSize, 4 * GiB];
  for (const [index, address] of addresses.entries()) ram.memory.writeU32(gpa(address), index + 1);
  for (const page of [5, 6, lastLow]) dirty[0]?.mark(page);
  dirty[1]?.mark(0);
  staging.copy(ram.memory, dirty);

  other.load(staging);
  t.equal(other.memory.regions[0]?.written.count, 0, 'nobody tracks it');
  other.memory.tracking = true;
  other.load(staging);
  for (const [index, address] of addresses.entries()) t.equal(other.memory.readU32(gpa(address)), index + 1);
  t.equal(other.memory.readU32(gpa(7 * pageSize)), 0);
  t.strictSame(
    other.memory.regions.map(({ written }) => written.count),
    [3, 1],
  );
  t.ok(other.memory.regions[0]?.written.has(lastLow));
});

test('pages that RAM does not have are refused', async (t) => {
  const { ram, staging, dirty } = rig(t, 16 * MiB);
  const smaller = new Ram(8 * MiB);
  t.teardown(() => smaller.close());
  dirty[0]?.mark((8 * MiB) / pageSize);
  staging.copy(ram.memory, dirty);
  t.throws(() => smaller.load(staging), RangeError);
  for (const [first, pages] of [
    [0, 2],
    [-1, 1],
    [1, 1],
  ] as const) {
    t.throws(() => staging.copyOut(first, ram.slots[0]?.hostAddress ?? 0, pages), {
      name: 'RangeError',
      message: `pages [${first}, +${pages}) are not staged`,
    });
  }
});
