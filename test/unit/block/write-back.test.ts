import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import type { Completion } from '../../../src/block/disk-engine.ts';
import { Overlay } from '../../../src/block/overlay.ts';
import { PlainEngine } from '../../../src/block/plain-engine.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { EAGAIN, EINTR, EIO, ENOSPC } from '../../../src/host/errno.ts';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../../src/host/mappings/io-vector.ts';
import { DiskRig, type TestRequest } from '../../support/disk-rig.ts';

const block = 4096;

/** Like Linux after a write-back that failed: fdatasync tells of it once, and succeeds from then on. */
class ForgetfulEngine extends PlainEngine {
  /** Results of the next calls, whatever they are, instead of making them. */
  results: number[] = [];
  /** Results of the next fdatasyncs. */
  syncResults: number[] = [];
  syncs = 0;

  override read(fd: Fd, data: IoVector, completion: Completion): void {
    if (!this.#fails(completion, this.results.shift())) super.read(fd, data, completion);
  }
  override write(fd: Fd, data: IoVector, completion: Completion): void {
    if (!this.#fails(completion, this.results.shift())) super.write(fd, data, completion);
  }
  override allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    if (!this.#fails(completion, this.results.shift())) super.allocate(fd, mode, offset, length, completion);
  }
  override sync(fd: Fd, completion: Completion): void {
    this.syncs++;
    if (!this.#fails(completion, this.syncResults.shift())) super.sync(fd, completion);
  }

  #fails(completion: Completion, result: number | undefined): boolean {
    if (result === undefined) return false;
    super.sync(-1 as Fd, { finished: () => completion.finished(result) });
    return true;
  }
}

function submit(rig: DiskRig, file: RawFile | Overlay): TestRequest {
  const request = rig.request(0);
  file.flush(request);
  return request;
}

for (const error of [EIO, ENOSPC]) {
  test(`a flush that failed with errno ${error} fails for ever, until the file is opened again`, async (t) => {
    const engine = new ForgetfulEngine();
    const rig = new DiskRig(t, engine);
    writeFileSync(rig.path('disk'), Buffer.alloc(block));
    const file = RawFile.open(rig.path('disk'), {}, rig.engines);
    t.equal(rig.flush(file), 0);
    t.equal(file.lost, 0);
    engine.syncResults = [-error];
    t.equal(rig.write(file, 0, Buffer.alloc(512, 1)), 0);
    t.equal(rig.flush(file), -error);
    t.equal(rig.flush(file), -error, 'the kernel would say that all is well');
    t.equal(rig.write(file, 0, Buffer.alloc(512, 2)), 0, 'it can still be read and written');
    t.equal(rig.flush(file), -error);
    t.equal(file.lost, -error);
    file.close();
    const again = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
    t.equal(rig.flush(again), 0);
  });
}

test('of flushes at the same time all hear of a failure, of which the kernel tells one', async (t) => {
  const engine = new ForgetfulEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('disk'), Buffer.alloc(block));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  engine.syncResults = [-EIO];
  const flushes = [submit(rig, file), submit(rig, file), submit(rig, file)];
  t.equal(engine.syncs, 1);
  file.start();
  t.strictSame(
    flushes.map(({ result }) => result),
    [-EIO, -EIO, -EIO],
  );
});

test('a flush covers what was written before it: it shares none that was on its way', async (t) => {
  const engine = new ForgetfulEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('disk'), Buffer.alloc(block));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  const first = submit(rig, file);
  const others = [submit(rig, file), submit(rig, file)];
  t.equal(engine.syncs, 1);
  file.start();
  t.equal(engine.syncs, 2, 'the others share one');
  t.strictSame(
    [first, ...others].map(({ result }) => result),
    [0, 0, 0],
  );
});

test('an overlay’s bit whose data was lost never reaches the file, by a later flush or at the end', async (t) => {
  const engine = new ForgetfulEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('base'), Buffer.alloc(4 * block, 3));
  const open = (): Overlay =>
    Overlay.open(rig.path('top'), RawFile.open(rig.path('base'), { readOnly: true }, rig.engines), {}, rig.engines);
  const bitmap = (): number => readFileSync(rig.path('top'))[block] as number;
  const overlay = open();
  t.equal(rig.write(overlay, 0, Buffer.alloc(block, 1)), 0);
  t.equal(rig.flush(overlay), 0);
  t.equal(bitmap(), 1);

  t.equal(rig.write(overlay, block, Buffer.alloc(block, 2)), 0);
  engine.syncResults = [-EIO];
  t.equal(rig.flush(overlay), -EIO);
  t.equal(rig.flush(overlay), -EIO);
  t.equal(rig.write(overlay, 2 * block, Buffer.alloc(block, 2)), 0);
  t.equal(rig.flush(overlay), -EIO);
  t.equal(bitmap(), 1);
  overlay.close();
  t.equal(bitmap(), 1);

  const again = rig.owner.own(open());
  t.strictSame(rig.read(again, 0, 2 * block), Buffer.concat([Buffer.alloc(block, 1), Buffer.alloc(block, 3)]));
  t.equal(rig.flush(again), 0);
});

test('a call that was interrupted, or is to come again, is made again', async (t) => {
  const engine = new ForgetfulEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('disk'), Buffer.alloc(2 * block, 7));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  const twice = (): number[] => [-EAGAIN, -EINTR];
  engine.results = twice();
  t.equal(rig.write(file, 512, Buffer.alloc(512, 1)), 0);
  engine.results = twice();
  t.strictSame(rig.read(file, 0, 1024), Buffer.concat([Buffer.alloc(512, 7), Buffer.alloc(512, 1)]));
  engine.results = twice();
  t.equal(rig.writeZeroes(file, block, block), 0);
  engine.results = twice();
  t.equal(rig.discard(file, 0, 512), 0);
  engine.syncResults = twice();
  t.equal(rig.flush(file), 0);
  t.equal(file.lost, 0);
  t.ok(
    readFileSync(rig.path('disk'))
      .subarray(block)
      .every((byte) => byte === 0),
  );
});

test('a call that is to come again without end fails in the end', async (t) => {
  const engine = new ForgetfulEngine();
  const rig = new DiskRig(t, engine);
  writeFileSync(rig.path('disk'), Buffer.alloc(block));
  const file = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  engine.results = Array(5000).fill(-EAGAIN);
  t.equal(rig.write(file, 0, Buffer.alloc(512, 1)), -EAGAIN);
  engine.results = [];
  engine.syncResults = Array(5000).fill(-EAGAIN);
  t.equal(rig.flush(file), -EAGAIN);
});

test('descriptors of disks wait: those that do not give EAGAIN for each request on some devices', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(block));
  const O_NONBLOCK = 0o4000;
  for (const options of [{}, { readOnly: true }]) {
    const file = RawFile.open(rig.path('disk'), options, rig.engines);
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${file.fd}`, 'utf8'))?.[1] ?? '';
    t.match(flags, /^0/);
    t.equal(Number.parseInt(flags, 8) & O_NONBLOCK, 0);
    file.close();
  }
});
