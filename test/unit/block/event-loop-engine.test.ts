import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import type { BlockBackend, BlockRequest } from '../../../src/block/block-backend.ts';
import { openDiskFile } from '../../../src/block/disk-file.ts';
import { EventLoopEngine } from '../../../src/block/event-loop-engine.ts';
import { Overlay } from '../../../src/block/overlay.ts';
import { openOverlay } from '../../../src/block/overlay-file.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../../../src/host/files/file-calls.ts';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../../src/host/mappings/io-vector.ts';
import { Owner } from '../../../src/host/ownership.ts';
import { DiskRig } from '../../support/disk-rig.ts';

function result(submit: (completion: { finished(result: number): void }) => void): Promise<number> {
  return new Promise((resolve) => submit({ finished: resolve }));
}

/** Submits a request over the rig's memory. */
function run(
  rig: DiskRig,
  backend: BlockBackend,
  what: 'read' | 'write' | 'flush',
  offset: number,
  length: number,
): Promise<number> {
  const { data } = rig.request(offset, [0, length]) as { data: IoVector };
  return result(({ finished }) => {
    const request: BlockRequest = { offset, length, data, finished };
    backend[what](request);
    backend.start();
  });
}

test('calls are made elsewhere, and tell what became of them', async (t) => {
  const rig = new DiskRig(t);
  const engine = new EventLoopEngine();
  writeFileSync(rig.path('file'), Buffer.alloc(65536, 1));
  const fd = openSync(rig.path('file'), 'r+') as Fd;
  rig.owner.defer(() => closeSync(fd));
  let batches = 0;
  engine.listen({ batchFinished: () => batches++ });

  rig.memory.set([7, 8, 9]);
  const write = rig.request(0, [0, 3]);
  write.data.offset = 100;
  let returned = false;
  const written = result((completion) => engine.write(fd, write.data, completion)).then((bytes) => {
    t.ok(returned, 'not from the call that submits');
    return bytes;
  });
  returned = true;
  t.equal(engine.inFlight, 1);
  t.equal(await written, 3);
  t.equal(engine.inFlight, 0);
  t.equal(await result((completion) => engine.sync(fd, completion)), 0);
  const read = rig.request(0, [512, 4]);
  read.data.offset = 99;
  t.equal(await result((completion) => engine.read(fd, read.data, completion)), 4);
  t.strictSame([...rig.memory.subarray(512, 516)], [1, 7, 8, 9]);
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  t.equal(await result((completion) => engine.allocate(fd, mode, 0, 4096, completion)), 0);
  t.equal(readFileSync(rig.path('file'))[100], 0);
  t.equal(await result((completion) => engine.write(9999 as Fd, write.data, completion)), -9 /* EBADF */);
  t.ok(batches >= 5);
});

test('more calls than are made at a time are all made', async (t) => {
  const rig = new DiskRig(t);
  const engine = new EventLoopEngine();
  writeFileSync(rig.path('disk'), Buffer.alloc(64 * 512));
  const raw = rig.owner.own(RawFile.open(rig.path('disk'), {}, engine));
  for (let at = 0; at < 64 * 512; at++) rig.memory[at] = at >> 9;
  const results = await Promise.all(
    Array.from({ length: 64 }, (_, index) => {
      const { data } = rig.request(index * 512, [index * 512, 512]);
      return result(({ finished }) => raw.write({ offset: index * 512, length: 512, data, finished }));
    }),
  );
  t.ok(results.every((each) => each === 0));
  t.strictSame(readFileSync(rig.path('disk')), Buffer.from(rig.memory.subarray(0, 64 * 512)));
});

test('a direct file takes memory that is not aligned', async (t) => {
  const rig = new DiskRig(t, undefined, process.cwd());
  const engine = new EventLoopEngine();
  writeFileSync(rig.path('disk'), Buffer.alloc(65536));
  const raw = rig.owner.own(RawFile.open(rig.path('disk'), { direct: true }, engine));
  const { data } = rig.request(512, [1, 1024]);
  rig.memory.fill(5, 1, 1025);
  t.equal(await result(({ finished }) => raw.write({ offset: 512, length: 1024, data, finished })), 0);
  t.strictSame(readFileSync(rig.path('disk')), Buffer.alloc(65536).fill(5, 512, 1536));
});

test('two threads have an overlay open: what one writes the other has, and makes durable', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('base'), Buffer.alloc(65536, 1));
  const base = openDiskFile(rig.path('base'), { readOnly: true });
  const top = openOverlay(rig.path('top'), base.sizeBytes);
  rig.owner.defer(() => closeSync(base.fd));
  rig.owner.defer(() => closeSync(top.file.fd));
  const engine = new EventLoopEngine();
  const theirs = new Overlay(top, new RawFile(base, engine), engine, new Owner());
  const ours = new Overlay(top, new RawFile(base, rig.engines), rig.engines, new Owner());

  rig.memory.fill(2, 0, 8192);
  t.equal(await run(rig, theirs, 'write', 4096, 8192), 0);
  theirs.leave();
  t.strictSame(rig.read(ours, 0, 16384), Buffer.alloc(16384, 1).fill(2, 4096, 12288));
  const bit = (): number => readFileSync(rig.path('top'))[4096] as number;
  t.equal(bit(), 0, 'leaving writes no bits');
  t.equal(rig.flush(ours), 0);
  t.equal(bit(), 0b110);
  ours.close();
});
