import { fstatSync, readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs';
import { test } from 'tap';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import { viewMemory } from '../../../src/host/libc/memory.ts';
import { GiB, gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { Ram } from '../../../src/memory/ram.ts';
import { StagingArea } from '../../../src/memory/staging-area.ts';
import { namelessFile } from '../../support/nameless-file.ts';
import { inThread } from '../../support/thread.ts';

/** Memory this process really has, in bytes: pages of its own and of files. */
function residentBytes(): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

for (const backing of ['private', 'shared'] as const) {
  test(`6 GiB of ${backing} RAM cost nothing until they are touched`, async (t) => {
    const before = residentBytes();
    const ram = new Ram(6 * GiB, backing);
    t.teardown(() => ram.close());
    t.equal(ram.memory.sizeBytes, 6 * GiB);
    const grown = residentBytes() - before;
    t.ok(grown < 32 * MiB, `${grown} bytes`);

    ram.memory.writeU8(gpa(0), 1);
    ram.memory.writeU8(gpa(7 * GiB - 1), 2);
    t.equal(ram.memory.readU8(gpa(0)), 1);
    t.equal(ram.memory.readU8(gpa(7 * GiB - 1)), 2);
    t.ok(residentBytes() - before < 40 * MiB, 'two pages are two pages, or two huge ones');
  });

  test(`${backing} RAM is the same bytes in another thread, and so are its marks`, async (t) => {
    const ram = new Ram(16 * MiB, backing);
    t.teardown(() => ram.close());
    ram.memory.writeU32(gpa(0x5000), 11);
    ram.memory.tracking = true;

    const seen = await inThread(new URL('./threads.ts', import.meta.url), 'writeRam', ram.shared, 0x5000, 22);

    t.equal(seen, 11);
    t.equal(ram.memory.readU32(gpa(0x5000)), 22);
    t.equal(ram.memory.regions[0]?.written.has(5), true);
    t.equal(ram.memory.regions[0]?.written.count, 1);
  });
}

test('has a slot for each region, backed by one mapping', async (t) => {
  const ram = new Ram(3 * GiB + 64 * MiB);
  t.teardown(() => ram.close());
  const { address } = ram.shared;
  t.strictSame(ram.slots, [
    { slot: 0, guestAddress: 0, sizeBytes: 3 * GiB, hostAddress: address },
    { slot: 1, guestAddress: 4 * GiB, sizeBytes: 64 * MiB, hostAddress: address + 3 * GiB },
  ]);
});

test('a byte lies where its slot says, in every part of a large region', async (t) => {
  const ram = new Ram(6 * GiB);
  t.teardown(() => ram.close());
  for (const { guestAddress, sizeBytes, hostAddress } of ram.slots) {
    for (let offset = 0; offset < sizeBytes; offset += GiB) {
      ram.memory.writeU32(gpa(guestAddress + offset), offset / GiB + 1);
      const bytes = viewMemory(hostAddress + offset, 4);
      t.equal(new DataView(bytes).getUint32(0, true), offset / GiB + 1, `${offset} of the slot at ${guestAddress}`);
    }
  }
});

test('does not confuse the end of low RAM with the beginning of high RAM', async (t) => {
  const ram = new Ram(3 * GiB + 64 * MiB);
  t.teardown(() => ram.close());
  ram.memory.writeU32(gpa(3 * GiB - 4), 1);
  ram.memory.writeU32(gpa(4 * GiB), 2);
  t.equal(ram.memory.readU32(gpa(3 * GiB - 4)), 1);
  t.equal(ram.memory.readU32(gpa(4 * GiB)), 2);
  t.throws(() => ram.memory.readU32(gpa(3 * GiB - 2)), { code: 'GUEST_MEMORY' });
  t.throws(() => ram.memory.readU8(gpa(3 * GiB)), { code: 'GUEST_MEMORY' });
  t.throws(() => ram.memory.readU8(gpa(4 * GiB + 64 * MiB)), { code: 'GUEST_MEMORY' });
});

for (const length of [100, 3 * MiB]) {
  test(`${length} bytes are written, moved over themselves and zeroed, and nothing beside them`, async (t) => {
    const ram = new Ram(16 * MiB);
    t.teardown(() => ram.close());
    const { memory } = ram;
    const start = 2 * MiB + 3;
    const content = Buffer.from(Uint8Array.from({ length }, (_, index) => 1 + (index % 251)));
    const all = (): Buffer => Buffer.from(memory.slice(gpa(0), 16 * MiB));
    const expected = Buffer.alloc(16 * MiB);
    memory.tracking = true;

    memory.write(gpa(start), content);
    expected.set(content, start);
    t.ok(all().equals(expected), 'written');
    for (const to of [start + 50, start - 50]) {
      memory.move(gpa(to), gpa(start), length);
      expected.copyWithin(to, start, start + length);
      t.ok(all().equals(expected), `moved to ${to}`);
    }
    memory.zero(gpa(start), length);
    expected.fill(0, start, start + length);
    t.ok(all().equals(expected), 'zeroed');
    t.equal(memory.regions[0]?.written.has(Math.floor((start + length - 1) / pageSize)), true);
  });
}

test('a long stretch is written where it belongs above the hole too', async (t) => {
  const ram = new Ram(3 * GiB + 16 * MiB);
  t.teardown(() => ram.close());
  ram.memory.write(gpa(4 * GiB + 5), new Uint8Array(2 * pageSize).fill(7));
  t.ok(ram.memory.slice(gpa(4 * GiB + 5), 2 * pageSize).every((byte) => byte === 7));
  t.equal(ram.memory.readU8(gpa(4 * GiB + 4)), 0);
  t.equal(ram.memory.readU8(gpa(4 * GiB + 5 + 2 * pageSize)), 0);
});

test('is made of whole pages', async (t) => {
  t.throws(() => new Ram(4097), { message: /not a whole number of pages/ });
});

/** A file of `sizeBytes` with a word in each of some pages. */
function fileOf(t: { teardown(clean: () => void): void }, sizeBytes: number, words: Record<number, number>): Fd {
  const fd = namelessFile(t, sizeBytes);
  for (const [page, word] of Object.entries(words)) writeSync(fd, Uint32Array.of(word), 0, 4, Number(page) * pageSize);
  return fd;
}

const fileWord = (fd: Fd, page: number): number => readFileSync(`/proc/self/fd/${fd}`).readUInt32LE(page * pageSize);

test('RAM out of a file begins as the file from an offset on, and never changes the file', async (t) => {
  const fd = fileOf(t, 17 * MiB, { 256: 11, 300: 22 });
  const ram = new Ram(16 * MiB, { fd, offset: MiB });
  t.teardown(() => ram.close());
  t.equal(ram.memory.readU32(gpa(0)), 11);
  t.equal(ram.memory.readU32(gpa(44 * pageSize)), 22);
  t.equal(ram.memory.readU32(gpa(45 * pageSize)), 0);
  ram.memory.writeU32(gpa(0), 99);
  t.equal(ram.memory.readU32(gpa(0)), 99);
  t.equal(fileWord(fd, 256), 11);
});

test('RAM out of a file is read when it is touched', async (t) => {
  const fd = fileOf(t, 6 * GiB, {});
  const before = residentBytes();
  const ram = new Ram(6 * GiB, { fd, offset: 0 });
  t.teardown(() => ram.close());
  t.equal(ram.memory.readU8(gpa(7 * GiB - 1)), 0);
  t.ok(residentBytes() - before < 32 * MiB);
});

for (const pages of [3, 300]) {
  test(`a run of ${pages} pages of another file takes the place of the first one's`, async (t) => {
    const base = fileOf(t, 16 * MiB, { 99: 1, 100: 2, 101: 3, [99 + pages]: 4, [100 + pages]: 5 });
    const later = fileOf(t, 16 * MiB, { 7: 6, 9: 7, [7 + pages - 1]: 8, [7 + pages]: 9 });
    const ram = new Ram(16 * MiB, { fd: base, offset: 0 });
    t.teardown(() => ram.close());
    const word = (page: number): number => ram.memory.readU32(gpa(page * pageSize));

    ram.overlayFile({ fd: later, offset: 7 * pageSize }, 100, pages);

    t.strictSame([99, 100, 101, 100 + pages - 1, 100 + pages].map(word), [1, 6, 0, 8, 5]);
    ram.memory.writeU32(gpa(100 * pageSize), 77);
    t.equal(fileWord(later, 7), 6);
  });
}

test('refuses a file that is too short, before a touch beyond its end can be fatal', async (t) => {
  const fd = fileOf(t, 16 * MiB, {});
  t.throws(() => new Ram(16 * MiB, { fd, offset: pageSize }), { code: 'FILE_TOO_SHORT', message: /16777216 bytes/ });
  const ram = new Ram(16 * MiB, { fd, offset: 0 });
  t.teardown(() => ram.close());
  t.throws(() => ram.overlayFile({ fd, offset: 16 * MiB - pageSize }, 0, 2), { code: 'FILE_TOO_SHORT' });
  for (const first of [-1, 4095, 4096, Number.NaN]) {
    t.throws(() => ram.overlayFile({ fd, offset: 0 }, first, 2), RangeError, `${first}`);
  }
  const plain = new Ram(16 * MiB);
  t.teardown(() => plain.close());
  t.throws(() => plain.overlayFile({ fd, offset: 0 }, 0, 2), TypeError);
});

/** Places of this process's address space with such bytes behind them, as the kernel lists them. */
function mapped(what: RegExp): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => what.test(line));
}

const ofFile = (fd: Fd): string[] => mapped(new RegExp(` ${fstatSync(fd).ino} `));
const memfds = (): string[] => mapped(/memfd:guest-ram/);

test('shared RAM is a memfd, of which nothing is left when it is closed; private RAM is none', async (t) => {
  const before = memfds().length;
  const ram = new Ram(4 * MiB, 'shared');
  t.equal(memfds().length, before + 1);
  ram.close();
  t.equal(memfds().length, before);
  const plain = new Ram(4 * MiB);
  t.equal(memfds().length, before);
  plain.close();
});

/** Descriptors of this process that are guest RAM. */
function descriptors(): number {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // that by which the folder was read
    }
  });
  return links.filter((link) => link.includes('memfd:guest-ram')).length;
}

test('shared RAM that moved and is closed leaves no descriptor behind', async (t) => {
  const before = descriptors();
  const ram = new Ram(4 * MiB, 'shared');
  ram.move().close();
  t.ok(descriptors() > before);
  ram.close();
  t.equal(descriptors(), before);
});

test('closed RAM is memory given back', async (t) => {
  const ram = new Ram(64 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(64 * MiB).fill(1));
  const full = residentBytes();
  ram.close();
  t.ok(full - residentBytes() > 48 * MiB);
});

for (const [pages, mappings] of [
  [255, 0],
  [256, 1],
] as const) {
  test(`${pages} pages of another file take ${mappings} mappings`, async (t) => {
    const base = fileOf(t, 16 * MiB, {});
    const later = fileOf(t, 16 * MiB, {});
    const ram = new Ram(16 * MiB, { fd: base, offset: 0 });
    t.teardown(() => ram.close());
    ram.overlayFile({ fd: later, offset: 0 }, 8, pages);
    t.equal(ofFile(later).length, mappings);
  });
}

test('the last page of RAM can be overlaid, and nothing less than one', async (t) => {
  const base = fileOf(t, 16 * MiB, {});
  const later = fileOf(t, 16 * MiB, { 0: 5 });
  const ram = new Ram(16 * MiB, { fd: base, offset: 0 });
  t.teardown(() => ram.close());
  const last = (16 * MiB) / pageSize - 1;
  ram.overlayFile({ fd: later, offset: 0 }, last, 1);
  t.equal(ram.memory.readU32(gpa(16 * MiB - pageSize)), 5);
  const message = `pages [${last}, +2) are not in RAM of 16777216 bytes`;
  t.throws(() => ram.overlayFile({ fd: later, offset: 0 }, last, 2), { message });
  t.throws(() => ram.overlayFile({ fd: later, offset: 0 }, 0, 0), { message: /^pages \[0, \+0\) are not in RAM/ });
});

for (const backing of ['private', 'shared', 'file'] as const) {
  test(`zeroed RAM (${backing}) is empty, and each of its pages counts as written`, async (t) => {
    const fd = fileOf(t, 4 * MiB, { 1: 11 });
    const ram = new Ram(4 * MiB, backing === 'file' ? { fd, offset: 0 } : backing);
    t.teardown(() => ram.close());
    const { memory } = ram;
    memory.writeU32(gpa(0x3000), 33);
    memory.tracking = true;
    ram.clear();
    t.equal(memory.readU32(gpa(0x1000)), 0);
    t.equal(memory.readU32(gpa(0x3000)), 0);
    t.equal(memory.regions[0]?.written.count, (4 * MiB) / pageSize);
    memory.writeU32(gpa(0x3000), 44);
    t.equal(memory.readU32(gpa(0x3000)), 44);
  });
}

for (const backing of ['private', 'shared'] as const) {
  test(`${backing} RAM that moves is zeros elsewhere, and the old bytes stay until they are given back`, async (t) => {
    const before = memfds().length;
    const ram = new Ram(4 * MiB, backing);
    t.teardown(() => ram.close());
    ram.memory.writeU32(gpa(0x3000), 33);
    const { shared: old, memory } = ram;
    memory.tracking = true;

    const oldRange = ram.move();

    t.not(ram.shared.address, old.address);
    t.equal(ram.slots[0]?.hostAddress, ram.shared.address);
    t.equal(memory.readU32(gpa(0x3000)), 0);
    t.equal(new DataView(old.bytes, old.start).getUint32(0x3000, true), 33);
    t.equal(ram.shared.written, old.written, 'marks are where they were');
    t.equal(ram.shared.tracking, old.tracking);
    t.equal(memory.regions[0]?.written.count, (4 * MiB) / pageSize);
    memory.writeU32(gpa(0x3000), 44);
    t.equal(new DataView(ram.shared.bytes, ram.shared.start).getUint32(0x3000, true), 44);
    t.equal(memfds().length - before, backing === 'shared' ? 2 : 0, 'it is made of the same as before');
    oldRange.close();
    t.equal(new DataView(old.bytes, old.start).getUint32(0x3000, true), 0);
    t.equal(memory.readU32(gpa(0x3000)), 44);
  });
}

test('staged pages are loaded up to the last one of RAM, marked, and none behind it', async (t) => {
  const pages = (4 * MiB) / pageSize;
  const [ram, larger] = [new Ram(4 * MiB), new Ram(8 * MiB)];
  const staging = new StagingArea(2 * pages);
  t.teardown(() => {
    for (const each of [staging, ram, larger]) each.close();
  });
  const dirty = [new DirtyBitmap(2 * pages)];
  const stage = (page: number): void => {
    larger.memory.writeU32(gpa(page * pageSize), page);
    dirty[0]?.mark(page);
    staging.copy(larger.memory, dirty);
  };
  ram.memory.tracking = true;

  stage(pages - 1);
  ram.load(staging);
  t.equal(ram.memory.readU32(gpa(4 * MiB - pageSize)), pages - 1);
  t.equal(ram.memory.regions[0]?.written.has(pages - 1), true);
  t.equal(ram.memory.regions[0]?.written.count, 1);
  stage(pages);
  t.throws(() => ram.load(staging), { message: `pages [${pages - 1}, +2) are not in RAM of 4194304 bytes` });
});
