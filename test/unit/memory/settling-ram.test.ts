import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { test } from 'tap';
import { type MemfdMapping, SharedRange } from '../../../src/host/mappings/mapping.ts';
import { gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { CheckpointedMemory } from '../../../src/memory/checkpointed-memory.ts';
import { SettlingRam } from '../../../src/memory/settling-ram.ts';
import { inThread } from '../../support/thread.ts';

/** Memory files that this process has open. */
function openCheckpoints(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('memfd:checkpoint');
    } catch {
      return false; // the folder itself, which is closed by now
    }
  }).length;
}

/** The mappings behind a guest's RAM, with what they take, in KiB. */
function mappingsOf({ shared, memory }: CheckpointedMemory): { file: boolean; Rss: number }[] {
  const mappings: { file: boolean; Rss: number }[] = [];
  let inside = false;
  for (const line of readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    const [, start, rest] = /^([0-9a-f]+)-[0-9a-f]+ (.*)/.exec(line) ?? [];
    if (start !== undefined) {
      const offset = Number.parseInt(start, 16) - shared.address;
      inside = offset >= 0 && offset < memory.sizeBytes;
      if (inside) mappings.push({ file: rest?.includes('memfd') === true, Rss: 0 });
    }
    const resident = /^Rss:\s+(\d+) kB/.exec(line)?.[1];
    const last = mappings.at(-1);
    if (inside && resident !== undefined && last !== undefined) last.Rss = Number(resident);
  }
  return mappings;
}

/** A checkpoint of which the guest has written some, with some zeros, and what its RAM is. */
function made(t: { teardown(clean: () => void): void }): { ram: CheckpointedMemory; expected: Buffer } {
  const ram = new CheckpointedMemory(16 * MiB);
  t.teardown(() => ram.close());
  const filled = new Uint8Array(8 * MiB).map((_, index) => (index >> 12) + index);
  ram.write(0, filled);
  // Into the checkpoint's pages, and where there are none.
  for (const page of [3, 700, 2047, 2048 + 512])
    ram.memory.write(gpa(page * pageSize + 9), new Uint8Array(99).fill(page));
  return { ram, expected: Buffer.from(ram.memory.slice(gpa(0), 16 * MiB)) };
}

test('every byte stays as it was, in one private mapping, and the checkpoint is given back', async (t) => {
  const { ram, expected } = made(t);
  t.equal(openCheckpoints(), 1);
  const settling = ram.settle();
  for (let left = 16 * MiB; left > 0; left -= 2 * MiB) {
    t.equal(settling.leftBytes, left);
    settling.prepare();
    settling.move();
    settling.release();
    if (!Buffer.from(ram.memory.slice(gpa(0), 16 * MiB)).equals(expected))
      t.fail(`not the same with ${left} bytes left`);
  }
  settling.close();
  t.equal(settling.leftBytes, 0);
  const mappings = mappingsOf(ram);
  t.equal(mappings.length, 1, JSON.stringify(mappings));
  t.equal(mappings[0]?.file, false);
  t.equal(openCheckpoints(), 0, 'of the checkpoint nothing is open any more');
  ram.memory.writeU32(gpa(5 * MiB), 77);
  t.equal(ram.memory.readU32(gpa(5 * MiB)), 77);
});

test('what is zeros takes no memory afterwards', async (t) => {
  const ram = new CheckpointedMemory(16 * MiB);
  t.teardown(() => ram.close());
  ram.memory.writeU32(gpa(2 * MiB), 1);
  ram.memory.writeU32(gpa(2 * MiB), 0);
  ram.memory.writeU32(gpa(8 * MiB - 4), 1);
  const settling = ram.settle();
  t.teardown(() => settling.close());
  while (settling.leftBytes > 0) {
    settling.prepare();
    settling.move();
    settling.release();
  }
  const taken = mappingsOf(ram).reduce((sum, { Rss }) => sum + Rss, 0);
  t.ok(taken <= 2048, `${taken} KiB are no more than the one piece that has something`);
  t.equal(ram.memory.readU32(gpa(8 * MiB - 4)), 1);
});

test('a piece that its guest writes between the look and the pause is moved as it is then', async (t) => {
  const ram = new CheckpointedMemory(4 * MiB);
  t.teardown(() => ram.close());
  ram.memory.writeU32(gpa(2 * MiB), 5);
  const settling = ram.settle();
  t.teardown(() => settling.close());
  settling.prepare();
  ram.memory.writeU32(gpa(MiB), 6);
  settling.move();
  settling.release();
  t.equal(ram.memory.readU32(gpa(MiB)), 6, 'it was zeros when it was looked at');
  settling.prepare();
  ram.memory.writeU32(gpa(2 * MiB), 0);
  settling.move();
  settling.release();
  t.equal(ram.memory.readU32(gpa(2 * MiB)), 0, 'it was not zeros when it was looked at');
});

test('another thread that reads RAM meanwhile sees the same bytes at every moment', async (t) => {
  const { ram, expected } = made(t);
  const control = new Int32Array(new SharedArrayBuffer(8));
  const url = new URL('./threads.ts', import.meta.url);
  const watching = inThread(url, 'watchRam', ram.shared, new Uint8Array(expected), control.buffer);
  const looks = (): number => Atomics.load(control, 1);
  while (looks() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const settling = ram.settle();
  t.teardown(() => settling.close());
  while (settling.leftBytes > 0) {
    settling.prepare();
    settling.move();
    settling.release();
  }
  const then = looks();
  while (looks() < then + 2) await new Promise((resolve) => setTimeout(resolve, 5));
  Atomics.store(control, 0, 1);
  t.equal(await watching, 0, 'times that it was not the same');
});

/** What mappings as long as that take, in KiB, by where they begin. */
function mappingsOfLength(bytes: number): Map<number, number> {
  const found = new Map<number, number>();
  let at: number | undefined;
  for (const line of readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    const [, start = '', end = ''] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
    if (start !== '') {
      const from = Number.parseInt(start, 16);
      at = Number.parseInt(end, 16) - from === bytes ? from : undefined;
    }
    const resident = /^Rss:\s+(\d+) kB/.exec(line)?.[1];
    if (at !== undefined && resident !== undefined) found.set(at, Number(resident));
  }
  return found;
}

test('memory is there before the guest is paused, where it is needed, and what was not moved goes at the end', async (t) => {
  const size = 6 * MiB;
  const ram = new CheckpointedMemory(size);
  t.teardown(() => ram.close());
  ram.memory.writeU32(gpa(2 * MiB), 1);
  const before = mappingsOfLength(size);
  const settling = ram.settle();
  const [place, ...others] = [...mappingsOfLength(size).keys()].filter((from) => !before.has(from));
  t.strictSame(others, [], 'one place, as large as RAM');
  const from = place as number;
  settling.prepare();
  t.equal(mappingsOfLength(size).get(from), 0, 'the first piece is zeros');
  settling.move();
  settling.release();
  settling.prepare();
  t.equal(mappingsOfLength(size).get(from), 2048, 'the second has something, and gets its memory');
  settling.close();
  t.equal(mappingsOfLength(size).has(from), false, 'what was not moved goes');
});

test('a checkpoint that cannot be given back is an error, and RAM is moved all the same', async (t) => {
  const range = new SharedRange('RAM', 4 * MiB);
  t.teardown(() => range.close());
  const bytes = new Uint8Array(range.buffer, range.start, range.sizeBytes);
  bytes.fill(7, 3 * MiB);
  let closed = 0;
  const settling = new SettlingRam(range, { fd: -1, close: () => closed++ } as unknown as MemfdMapping);
  t.teardown(() => settling.close());
  for (const left of [2 * MiB, 0]) {
    settling.prepare();
    settling.move();
    t.throws(() => settling.release(), { code: 'EBADF', message: 'fallocate on checkpoint: EBADF' });
    t.equal(settling.leftBytes, left);
  }
  t.equal(closed, 1);
  t.strictSame([bytes[3 * MiB - 1], bytes[3 * MiB], bytes[4 * MiB - 1]], [0, 7, 7]);
});

test('one that is given up half way leaves RAM as it is, and gives back what it took', async (t) => {
  const { ram, expected } = made(t);
  const settling = ram.settle();
  settling.prepare();
  settling.move();
  settling.release();
  settling.close();
  settling.close();
  t.ok(Buffer.from(ram.memory.slice(gpa(0), 16 * MiB)).equals(expected));
});

for (const moved of [0, 1, 3]) {
  test(`a guest that begins anew when ${moved} of 3 pieces were moved finds zeros, and nothing is left to be moved`, async (t) => {
    const ram = new CheckpointedMemory(6 * MiB);
    t.teardown(() => ram.close());
    ram.write(0, new Uint8Array(6 * MiB).fill(3));
    ram.memory.writeU32(gpa(MiB), 5);
    ram.memory.tracking = true;
    const { address } = ram.shared;
    const settling = ram.settle();
    t.teardown(() => settling.close());
    for (let pieces = 0; pieces < moved; pieces++) {
      settling.prepare();
      settling.move();
      settling.release();
    }

    ram.clear();

    t.ok(Buffer.from(ram.memory.slice(gpa(0), 6 * MiB)).equals(Buffer.alloc(6 * MiB)));
    t.equal(ram.memory.regions[0]?.written.count, (6 * MiB) / pageSize, 'every page counts as written');
    t.equal(settling.leftBytes, 0);
    t.equal(ram.shared.address, address);
    t.equal(openCheckpoints(), 0, 'of the checkpoint nothing is open any more');
    t.ok(mappingsOf(ram).every(({ file }) => !file));
    ram.memory.writeU32(gpa(MiB), 6);
    t.equal(ram.memory.readU32(gpa(MiB)), 6);
  });
}

test('a guest may begin anew before its RAM begins to be moved: it never does', async (t) => {
  const ram = new CheckpointedMemory(4 * MiB);
  t.teardown(() => ram.close());
  ram.write(0, new Uint8Array(4 * MiB).fill(3));
  ram.clear();
  const settling = ram.settle();
  t.teardown(() => settling.close());
  t.equal(settling.leftBytes, 0);
  t.equal(ram.memory.readU32(gpa(MiB)), 0);
});

test('a guest that begins anew elsewhere leaves the bytes of before to the disks that are still at them', async (t) => {
  const ram = new CheckpointedMemory(6 * MiB);
  t.teardown(() => ram.close());
  ram.write(0, new Uint8Array(6 * MiB).fill(3));
  ram.memory.writeU32(gpa(3 * MiB), 5);
  ram.memory.tracking = true;
  const { shared: old, memory } = ram;
  const settling = ram.settle();
  t.teardown(() => settling.close());
  settling.prepare();
  settling.move();
  settling.release();

  const oldRange = ram.move();

  t.not(ram.shared.address, old.address);
  t.equal(ram.slots[0]?.hostAddress, ram.shared.address);
  t.equal(settling.leftBytes, 0);
  t.equal(memory.readU32(gpa(3 * MiB)), 0);
  t.equal(memory.regions[0]?.written.count, (6 * MiB) / pageSize);
  t.equal(ram.shared.written, old.written, 'marks are where they were');
  const before = new DataView(old.bytes, old.start);
  t.strictSame(
    [MiB, 3 * MiB, 5 * MiB].map((at) => before.getUint32(at, true)),
    [0x03030303, 5, 0x03030303],
    'from the piece that was moved, from a page that the guest wrote, and from the checkpoint',
  );
  memory.writeU32(gpa(3 * MiB), 6);
  oldRange.close();
  t.equal(before.getUint32(3 * MiB, true), 0);
  t.equal(memory.readU32(gpa(3 * MiB)), 6);
});
