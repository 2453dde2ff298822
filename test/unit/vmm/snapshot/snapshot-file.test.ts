import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { pageSize } from '../../../../src/memory/address.ts';
import type { GuestMemory } from '../../../../src/memory/guest-memory.ts';
import { SnapshotError } from '../../../../src/vmm/snapshot/snapshot-error.ts';
import { Snapshot } from '../../../../src/vmm/snapshot/snapshot-file.ts';
import { encodePrelude, ramOffset } from '../../../../src/vmm/snapshot/snapshot-format.ts';
import { decodeTail, encodeTail, type SnapshotTail } from '../../../../src/vmm/snapshot/snapshot-tail.ts';
import { Snapshotter } from '../../../../src/vmm/snapshot/snapshotter.ts';
import { bytesOf, emptyConfig, fill, pagesOfRam, ramIn, SnapshotRig } from '../../../support/snapshot-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

/** A machine whose snapshots lie in a folder of their own. */
class Place {
  readonly folder: string;
  readonly memory: GuestMemory;
  readonly #snapshotter: Snapshotter;

  constructor(t: Test, pages = 70) {
    this.folder = temporaryFolder(t);
    this.memory = pagesOfRam(pages);
    this.#snapshotter = new Snapshotter(new SnapshotRig(this.memory), emptyConfig);
  }

  async take(name: string, incremental = false): Promise<string> {
    const path = join(this.folder, name);
    await this.#snapshotter.take(path, { incremental });
    return path;
  }
}

/** Why the file is refused, less its name; undefined if it is not. */
function refusal(path: string): string | undefined {
  try {
    new Snapshot(path).close();
    return undefined;
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    if (!error.message.startsWith(`${path}: `)) throw new Error(`does not name the file: ${error.message}`);
    return error.message.slice(path.length + 2);
  }
}

function tailOf(path: string): SnapshotTail {
  const snapshot = new Snapshot(path);
  snapshot.close();
  return snapshot.tail;
}

/** Flips a bit, asks `look`, flips it back. */
function withFlip<T>(fd: number, at: number, look: () => T): T {
  const byte = new Uint8Array(1);
  readSync(fd, byte, 0, 1, at);
  const [original] = byte;
  writeSync(fd, Uint8Array.of((original as number) ^ (1 << (at & 7))), 0, 1, at);
  try {
    return look();
  } finally {
    writeSync(fd, byte, 0, 1, at);
  }
}

/** Changes what a snapshot says of itself, and makes its checksums right again. */
function rewriteTail(path: string, change: (tail: SnapshotTail) => SnapshotTail): void {
  const bytes = readFileSync(path);
  const { memoryBytes } = tailOf(path).state;
  const tail = encodeTail(change(decodeTail(bytes.subarray(ramOffset + memoryBytes))));
  const ram = bytes.subarray(ramOffset, ramOffset + memoryBytes);
  writeFileSync(path, Buffer.concat([encodePrelude(memoryBytes, tail), ram, tail]));
}

/** RAM with something at both ends, and a hole of several chunks and one of a few pages within. */
function withHoles(memory: GuestMemory): void {
  fill(memory, 0, 18, 1);
  fill(memory, 60, 3, 1);
  fill(memory, 69, 1, 1);
}

test('RAM is mapped as it was', async (t) => {
  const place = new Place(t);
  withHoles(place.memory);
  t.ok(ramIn(await place.take('a.snap')).equals(bytesOf(place.memory)));
});

test('refuses every byte that is flipped', { timeout: 300_000 }, async (t) => {
  const place = new Place(t);
  withHoles(place.memory);
  const path = await place.take('a.snap');
  const { size } = statSync(path);
  const tailOffset = ramOffset + place.memory.sizeBytes;
  const fd = openSync(path, 'r+');
  const says = new Map<string, number>();
  for (let at = 0; at < size; at += at < ramOffset || at >= tailOffset ? 1 : 61) {
    const reason = withFlip(fd, at, () => refusal(path));
    if (reason === undefined) t.fail(`nobody sees that byte ${at} was flipped`);
    const kind = String(reason).replaceAll(/\d+/g, 'N');
    says.set(kind, (says.get(kind) ?? 0) + 1);
  }
  closeSync(fd);
  t.strictSame([...says.keys()].sort(), [
    'is damaged in its first page; copy it again, or take another one',
    'is damaged: page N of RAM, or one of the N from there on, has changed; copy it again, or take another one',
    'is damaged: the state of the machine has changed; copy it again, or take another one',
    'is no snapshot of colo-vmm',
  ]);
  t.equal(refusal(path), undefined, 'unless it is flipped back');
});

test('refuses a file that was cut, wherever', { timeout: 300_000 }, async (t) => {
  const place = new Place(t);
  withHoles(place.memory);
  const whole = await place.take('whole.snap');
  const path = join(place.folder, 'cut.snap');
  copyFileSync(whole, path);
  const { size } = statSync(whole);
  const tailOffset = ramOffset + place.memory.sizeBytes;
  const wrong: string[] = [];
  for (let length = size - 1; length >= 0; length -= length > tailOffset || length < ramOffset ? 1 : 59) {
    truncateSync(path, length);
    const reason = refusal(path);
    const expected = length < 8 ? 'is no snapshot' : length < 4096 ? 'was cut: it has only' : 'was cut: it has';
    if (!reason?.startsWith(expected)) wrong.push(`cut to ${length} bytes: ${reason}`);
  }
  t.same(wrong, []);
});

test('refuses a file whose end was lost and is a hole now', async (t) => {
  const place = new Place(t);
  withHoles(place.memory);
  const path = await place.take('a.snap');
  const { size } = statSync(path);
  truncateSync(path, ramOffset + 2 * pageSize);
  truncateSync(path, size);
  t.match(refusal(path), /^is damaged: the state of the machine has changed/);
});

test('refuses a file of which a part is a hole now', async (t) => {
  const place = new Place(t);
  withHoles(place.memory);
  const path = await place.take('a.snap');
  for (const [page, pages] of [
    [0, 70],
    [0, 16],
    [16, 2],
    [60, 1],
    [69, 1],
  ] as const) {
    const copy = join(place.folder, 'b.snap');
    copyFileSync(path, copy);
    execFileSync('fallocate', ['-p', '-o', `${ramOffset + page * pageSize}`, '-l', `${pages * pageSize}`, copy]);
    t.match(
      refusal(copy),
      /^is damaged: page \d+ of RAM, or one of the 16 from there on, (is missing|has changed)/,
      `page ${page}`,
    );
  }
});

test('refuses a file that grew', async (t) => {
  const place = new Place(t);
  const path = await place.take('a.snap');
  appendFileSync(path, '\0');
  t.match(refusal(path), /^is damaged: it has \d+ bytes instead of \d+/);
});

test('a copy without holes is as good', async (t) => {
  const place = new Place(t);
  withHoles(place.memory);
  const path = await place.take('a.snap');
  const copy = join(place.folder, 'b.snap');
  writeFileSync(copy, readFileSync(path));
  t.ok(statSync(copy).blocks > statSync(path).blocks, 'it has none');
  t.ok(ramIn(copy).equals(bytesOf(place.memory)));
});

test('a chain gives RAM as it was at each of its snapshots', async (t) => {
  const place = new Place(t, 700);
  withHoles(place.memory);
  const taken: (readonly [string, Buffer])[] = [];
  const note = async (name: string): Promise<void> => {
    taken.push([await place.take(name, true), bytesOf(place.memory)]);
  };
  await note('0.snap');
  fill(place.memory, 5, 1, 0); // becomes zero
  fill(place.memory, 100, 300, 4); // long enough to be mapped
  await note('1.snap');
  await note('2.snap'); // nothing has changed
  fill(place.memory, 0, 3, 9);
  fill(place.memory, 350, 300, 0);
  fill(place.memory, 600, 2, 8);
  await note('3.snap');
  for (const [path, expected] of taken) t.ok(ramIn(path).equals(expected), path);
});

test('a chain can be moved as a whole, and be reached by links', async (t) => {
  const place = new Place(t);
  const before = join(place.folder, 'before');
  mkdirSync(join(before, 'deep'), { recursive: true });
  fill(place.memory, 0, 3, 1);
  await place.take('before/0.snap', true);
  fill(place.memory, 1, 1, 2);
  symlinkSync(join(before, 'deep'), join(place.folder, 'link'));
  await place.take('link/1.snap', true);
  const after = join(place.folder, 'other', 'after');
  mkdirSync(join(place.folder, 'other'));
  t.ok(ramIn(join(place.folder, 'link', '1.snap')).equals(bytesOf(place.memory)));
  renameSync(before, after);
  t.ok(ramIn(join(after, 'deep', '1.snap')).equals(bytesOf(place.memory)));
  symlinkSync(join(after, 'deep', '1.snap'), join(place.folder, 'latest.snap'));
  t.ok(ramIn(join(place.folder, 'latest.snap')).equals(bytesOf(place.memory)));
});

test('refuses a snapshot whose base is not there, is another one or is damaged', async (t) => {
  const place = new Place(t);
  fill(place.memory, 0, 3, 1);
  const base = await place.take('0.snap', true);
  const path = await place.take('1.snap', true);
  const other = await new Place(t, 71).take('other.snap');
  const kept = join(place.folder, 'kept');
  copyFileSync(base, kept);

  rmSync(base);
  t.equal(refusal(path), `holds only what changed since ${base}, which cannot be used: ${base}: no such file`);
  copyFileSync(other, base);
  t.equal(
    refusal(path),
    `holds only what changed since ${base}, and there is another snapshot now; put back the one that was there`,
  );
  copyFileSync(kept, base);
  t.equal(refusal(path), undefined);
  const fd = openSync(base, 'r+');
  withFlip(fd, ramOffset + 1, () => {
    t.throws(() => new Snapshot(path), { message: new RegExp(`^${base}: is damaged: page 0 of RAM`) });
  });
  closeSync(fd);

  copyFileSync(other, base);
  const { id } = tailOf(kept);
  rewriteTail(base, (tail) => ({ ...tail, id }));
  t.equal(refusal(path), `holds only what changed since ${base}, and that is of a machine with other RAM`);
});

test('refuses snapshots that are based on each other', async (t) => {
  const place = new Place(t);
  const first = await place.take('0.snap', true);
  const second = await place.take('1.snap', true);
  const { id } = tailOf(second);
  rewriteTail(first, (tail) => ({ ...tail, base: { id, path: '1.snap' }, pages: new Uint8Array(16) }));
  t.match(
    refusal(second),
    /cannot be used: .*0\.snap: holds only what changed since .*1\.snap, and that is based on this one$/,
  );
});

for (const [what, message, change] of [
  ['too few checksums', /is damaged: RAM has more checksums or fewer/, { checksums: new Uint8Array(4) }],
  ['pages without a base', /is damaged: it does not say which pages it holds/, { pages: new Uint8Array(16) }],
  ['a base and no pages', /is damaged: it does not say which pages it holds/, { base: { id: 'x', path: 'x' } }],
  [
    'too few pages',
    /is damaged: it says of more pages or fewer/,
    { base: { id: 'x', path: 'x' }, pages: new Uint8Array(8) },
  ],
  [
    'a base that is a folder',
    /cannot be used: .*: is a folder/,
    { base: { id: 'x', path: '.' }, pages: new Uint8Array(16) },
  ],
  ['a base with a name that is none', /cannot be used/, { base: { id: 'x', path: 'a\0b' }, pages: new Uint8Array(16) }],
] as const satisfies readonly (readonly [string, RegExp, Partial<SnapshotTail>])[]) {
  test(`refuses a snapshot that tells of ${what}, though its checksums are right`, async (t) => {
    const path = await new Place(t).take('a.snap');
    rewriteTail(path, (tail) => ({ ...tail, ...change }));
    t.match(refusal(path), message);
  });
}

test('refuses a snapshot of a machine with other RAM', async (t) => {
  const path = await new Place(t).take('a.snap');
  rewriteTail(path, (tail) => ({ ...tail, state: { ...tail.state, memoryBytes: pageSize } }));
  t.match(refusal(path), /^is damaged: its machine has other RAM/);
});

test('refuses what is no snapshot', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'file');
  t.equal(refusal(path), 'no such file');
  t.equal(refusal(folder), 'is a folder; give the path of a snapshot');
  writeFileSync(path, '');
  t.equal(refusal(path), 'is no snapshot of colo-vmm');
  writeFileSync(path, 'a'.repeat(10_000));
  t.equal(refusal(path), 'is no snapshot of colo-vmm');
  t.equal(refusal('/dev/null'), 'is no file, and snapshots are');
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  t.equal(refusal(join(folder, 'fifo')), 'is no file, and snapshots are');
  symlinkSync('loop', join(folder, 'loop'));
  t.match(refusal(join(folder, 'loop')), /ELOOP/);
});

test('refuses a file that it may not read', {
  skip: process.getuid?.() !== 0 && 'only root can become another user',
}, async (t) => {
  const place = new Place(t);
  const path = await place.take('a.snap');
  chmodSync(place.folder, 0o755);
  process.seteuid?.(65_534);
  try {
    t.equal(refusal(path), 'no permission to read it');
  } finally {
    process.seteuid?.(0);
  }
});

test('says which file is too short to be mapped any more', async (t) => {
  const place = new Place(t);
  fill(place.memory, 0, 70, 1);
  const path = await place.take('a.snap');
  const snapshot = new Snapshot(path);
  t.teardown(() => snapshot.close());
  truncateSync(path, 3 * pageSize);
  t.throws(() => snapshot.mapRam(), {
    code: 'SNAPSHOT',
    message: /a\.snap: its memory cannot be mapped: the file has/,
  });
});
