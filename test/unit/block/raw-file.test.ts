import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import type { Completion, WatchedEngine } from '../../../src/block/disk-engine.ts';
import { DiskEngines } from '../../../src/block/disk-engines.ts';
import { PlainEngine } from '../../../src/block/plain-engine.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { EINVAL, EIO, ENOSPC, EOPNOTSUPP } from '../../../src/host/errno.ts';
import { FALLOC_FL_PUNCH_HOLE } from '../../../src/host/files/file-calls.ts';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../../src/host/mappings/io-vector.ts';
import { DiskRig, only } from '../../support/disk-rig.ts';
import { openFiles } from '../../support/open-files.ts';
import { randomNumbers } from '../../support/random.ts';

const MiB = 1024 * 1024;

function pattern(length: number, seed = 1): Buffer {
  const random = randomNumbers(seed);
  return Buffer.from(Array.from({ length }, () => random(256)));
}

/** An engine that does some calls only in part, or not at all. */
class LameEngine extends PlainEngine {
  /** Most bytes that a read or write moves. */
  mostBytes = Number.POSITIVE_INFINITY;
  /** Errors of fallocate by mode bits. */
  allocateError: (mode: number) => number = () => 0;
  writeError = 0;

  override read(fd: Fd, data: IoVector, completion: Completion): void {
    super.read(fd, this.#shortened(data), completion);
  }
  override write(fd: Fd, data: IoVector, completion: Completion): void {
    if (this.writeError !== 0) super.sync(-1 as Fd, { finished: () => completion.finished(this.writeError) });
    else super.write(fd, this.#shortened(data), completion);
  }
  override allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    const error = this.allocateError(mode);
    if (error === 0) super.allocate(fd, mode, offset, length, completion);
    else super.sync(-1 as Fd, { finished: () => completion.finished(error) });
  }

  /** The same memory, as far as `mostBytes` goes, without changing the caller's vector. */
  #shortened(data: IoVector): IoVector {
    if (data.bytes <= this.mostBytes) return data;
    const first = { address: data.address, count: 1, offset: data.offset } as IoVector;
    const saved = data.lengthOf(0);
    if (saved <= this.mostBytes) return first;
    throw new RangeError('the first range is longer than a short call may be');
  }
}

test('bytes written are the bytes of the file, and are read again', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(64 * 1024, 3));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  t.equal(file.sizeBytes, 64 * 1024);
  t.equal(rig.write(file, 4096, pattern(1024)), 0);
  t.equal(rig.flush(file), 0);
  t.strictSame(rig.read(file, 4096, 1024), pattern(1024));
  t.strictSame(readFileSync(rig.path('disk')).subarray(4096, 5120), pattern(1024));
  t.strictSame(rig.read(file, 512, 512), Buffer.alloc(512, 3));
});

test('a call that does only part of the work is continued', async (t) => {
  const engine = new LameEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('disk'), pattern(8192));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  engine.mostBytes = 1024;
  const read = rig.request(512, [0, 512], [4096, 1024], [1024, 512]);
  t.equal(
    rig.run(file, read, (request) => file.read(request)),
    0,
  );
  const parts = [rig.memory.subarray(0, 512), rig.memory.subarray(4096, 5120), rig.memory.subarray(1024, 1536)];
  t.strictSame(Buffer.concat(parts), pattern(8192).subarray(512, 2560));

  rig.memory.set(pattern(2048, 2));
  const write = rig.request(4096, [0, 1024], [1024, 1024]);
  t.equal(
    rig.run(file, write, (request) => file.write(request)),
    0,
  );
  t.strictSame(readFileSync(rig.path('disk')).subarray(4096, 6144), pattern(2048, 2));
});

test('a read beyond the end of a file that has shrunk is an I/O error', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(8192, 3));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  truncateSync(rig.path('disk'), 4096 + 512);
  t.equal(rig.read(file, 4096, 1024), -EIO);
  t.equal(rig.read(file, 4608, 512), -EIO);
  t.strictSame(rig.read(file, 4096, 512), Buffer.alloc(512, 3));
});

test('nothing is written beyond the end of the disk, or to a read-only one', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(4096));
  const file = RawFile.open(rig.path('disk'), {}, rig.engines);
  t.equal(rig.write(file, 3584, pattern(1024)), -EINVAL);
  t.equal(rig.writeZeroes(file, 4096, 512), -EINVAL);
  t.equal(statSync(rig.path('disk')).size, 4096);
  file.close();

  const readOnly = rig.owner.own(RawFile.open(rig.path('disk'), { readOnly: true }, rig.engines));
  t.equal(readOnly.readOnly, true);
  t.equal(rig.write(readOnly, 0, pattern(512)), -EINVAL);
  t.equal(rig.discard(readOnly, 0, 512), -EINVAL);
  t.equal(rig.writeZeroes(readOnly, 0, 512), -EINVAL);
  t.equal(rig.flush(readOnly), 0);
  t.strictSame(readFileSync(rig.path('disk')), Buffer.alloc(4096));
});

test('discard gives space back', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(MiB, 1));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  const before = statSync(rig.path('disk')).blocks;
  t.equal(rig.discard(file, 0, MiB / 2), 0);
  t.ok(statSync(rig.path('disk')).blocks <= before / 2 + 8);
  t.equal(statSync(rig.path('disk')).size, MiB);
});

for (const unmap of [false, true]) {
  for (const [lack, error] of [
    ['everything', () => 0],
    ['no more than holes', (mode: number) => ((mode & FALLOC_FL_PUNCH_HOLE) !== 0 ? 0 : -EOPNOTSUPP)],
    ['nothing', () => -EOPNOTSUPP],
  ] as const) {
    test(`zeroes are zeroes, unmap=${unmap}, on a file system that has ${lack}`, async (t) => {
      const engine = new LameEngine();
      engine.allocateError = error;
      const rig = new DiskRig(t, engine);
      writeFileSync(rig.path('disk'), Buffer.alloc(2 * MiB, 1));
      const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
      for (let round = 0; round < 2; round++) {
        const at = round * MiB;
        t.equal(rig.writeZeroes(file, at + 512, 700 * 1024, unmap), 0);
        const disk = readFileSync(rig.path('disk')).subarray(at, at + MiB);
        t.ok(disk.subarray(0, 512).every((byte) => byte === 1));
        t.ok(disk.subarray(512, 512 + 700 * 1024).every((byte) => byte === 0));
        t.ok(disk.subarray(512 + 700 * 1024).every((byte) => byte === 1));
      }
      t.equal(rig.discard(file, 0, 4096), 0, 'discard is a hint');
    });
  }
}

test('a full file system is told as such', async (t) => {
  const engine = new LameEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('disk'), Buffer.alloc(4096));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  engine.writeError = -ENOSPC;
  t.equal(rig.write(file, 0, pattern(512)), -ENOSPC);
});

test('direct I/O takes memory as it comes, in whatever pieces', async (t) => {
  const engine: WatchedEngine = new PlainEngine();
  const rig = new DiskRig(t, engine, '/var/tmp');
  writeFileSync(rig.path('disk'), pattern(2 * MiB));
  let file: RawFile;
  try {
    file = rig.owner.own(RawFile.open(rig.path('disk'), { direct: true }, rig.engines));
  } catch (error) {
    t.match(error, { code: 'DISK', message: /direct=off/ });
    return;
  }
  // Aligned; then split at odd addresses and larger than the memory that it goes through.
  t.strictSame(rig.read(file, 4096, 8192), pattern(2 * MiB).subarray(4096, 12288));
  const read = rig.request(4096, [1, 300], [1001, 8192 - 300 + 600 * 1024]);
  t.equal(
    rig.run(file, read, (request) => file.read(request)),
    0,
  );
  const got = Buffer.concat([rig.memory.subarray(1, 301), rig.memory.subarray(1001, 1001 + 8192 - 300 + 600 * 1024)]);
  t.ok(got.equals(pattern(2 * MiB).subarray(4096, 4096 + 8192 + 600 * 1024)));

  rig.memory.set(pattern(MiB, 2), 3);
  const writes = Array.from({ length: 8 }, (_, index) =>
    rig.request(index * 128 * 1024, [3 + index * 128 * 1024, 100], [103 + index * 128 * 1024, 128 * 1024 - 100]),
  );
  for (const request of writes) file.write(request);
  file.start();
  while (writes.some(({ result }) => result === undefined)) engine.reap();
  t.ok(writes.every(({ result }) => result === 0));
  t.ok(readFileSync(rig.path('disk')).subarray(0, MiB).equals(pattern(MiB, 2)));
  t.equal(rig.writeZeroes(file, 0, 8192), 0);
  t.ok(
    readFileSync(rig.path('disk'))
      .subarray(0, 8192)
      .every((byte) => byte === 0),
  );
});

test('readers share a disk; a writer is alone', async (t) => {
  const rig = new DiskRig(t);
  const path = rig.path('disk');
  writeFileSync(path, Buffer.alloc(4096));
  const first = RawFile.open(path, { readOnly: true }, rig.engines);
  const second = RawFile.open(path, { readOnly: true }, rig.engines);
  t.throws(() => RawFile.open(path, {}, rig.engines), {
    code: 'DISK',
    message: new RegExp(`^disk ${path} is in use by pid ${process.pid} \\(.+\\): end that first`),
  });
  first.close();
  t.throws(() => RawFile.open(path, {}, rig.engines), { code: 'DISK' });
  second.close();
  const writer = RawFile.open(path, {}, rig.engines);
  t.throws(() => RawFile.open(path, { readOnly: true }, rig.engines), {
    code: 'DISK',
    message: new RegExp(`is being written to by pid ${process.pid} `),
  });
  writer.close();
  RawFile.open(path, {}, rig.engines).close();
});

test('the holder of a disk in another process is named', async (t) => {
  const rig = new DiskRig(t);
  const path = rig.path('disk');
  writeFileSync(path, Buffer.alloc(4096));
  const script = `
    const { RawFile } = await import(${JSON.stringify(new URL('../../../src/block/raw-file.ts', import.meta.url).href)});
    RawFile.open(process.argv[1], {}, { engineFor: () => undefined });
    process.stdout.write('locked');
    setInterval(() => {}, 1000);`;
  const other = spawn(process.execPath, ['--import=tsx', '--input-type=module', '-e', script, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => other.kill('SIGKILL'));
  await once(other.stdout, 'data');
  t.throws(() => RawFile.open(path, {}, rig.engines), {
    message: `disk ${path} is in use by pid ${other.pid} (node): end that first, or use a copy`,
  });
  other.kill('SIGKILL');
  await once(other, 'exit');
  RawFile.open(path, {}, rig.engines).close();
});

test('what is no disk is refused in one sentence, and nothing stays open', async (t) => {
  const rig = new DiskRig(t);
  mkdirSync(rig.path('folder'));
  writeFileSync(rig.path('odd'), Buffer.alloc(513));
  writeFileSync(rig.path('empty'), '');
  writeFileSync(rig.path('secret'), Buffer.alloc(512));
  chmodSync(rig.path('secret'), 0);
  const before = openFiles();
  const refused = (name: string, message: RegExp, options = {}) =>
    t.throws(() => RawFile.open(rig.path(name), options, rig.engines), { name: 'DiskError', code: 'DISK', message });
  refused('folder', /folder is a directory: name a file/);
  refused('folder', /folder is a directory: name a file/, { readOnly: true });
  refused('odd', /odd has 513 bytes, not a multiple of 512/);
  refused('empty', /empty is empty/);
  refused('missing', /missing does not exist: truncate/);
  t.equal(existsSync(rig.path('missing')), false);
  if (process.getuid?.() !== 0) refused('secret', /secret may not be opened by this user/);
  t.throws(() => RawFile.open('/dev/null', {}, rig.engines), { message: /neither a file nor a block device/ });
  t.strictSame(openFiles(), before);
});

test('files in memory are accessed at once, others by the engine that waits', async (t) => {
  const engines = new DiskEngines();
  t.teardown(() => engines.close());
  const device = engines.engineFor('/dev/null', false);
  t.equal((device as WatchedEngine).completions, engines.completions);
  if (engines.withoutUring === undefined) t.not(engines.engineFor('/dev/shm', true), device);
  else t.equal(engines.engineFor('/dev/shm', true), device);
});

test('an engine chooser that fails leaves nothing open', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(512));
  const before = openFiles();
  const broken = {
    engineFor: () => {
      throw new Error('no engine');
    },
  };
  t.throws(() => RawFile.open(rig.path('disk'), {}, broken), { message: 'no engine' });
  t.strictSame(openFiles(), before);
  const file = RawFile.open(rig.path('disk'), {}, only(rig.engine));
  file.close();
  file.close();
  t.strictSame(openFiles(), before);
});
