import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import type { WatchedEngine } from '../../../src/block/disk-engine.ts';
import { PlainEngine } from '../../../src/block/plain-engine.ts';
import { UringEngine } from '../../../src/block/uring-engine.ts';
import { EPOLLET, EPOLLIN, Epoll } from '../../../src/host/events/epoll.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../../../src/host/files/file-calls.ts';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import { viewMemory } from '../../../src/host/libc/memory.ts';
import { IoVectors } from '../../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../../src/host/mappings/mapping.ts';
import { Owner } from '../../../src/host/ownership.ts';
import { openFiles } from '../../support/open-files.ts';

/** Why io_uring cannot be tested here; false if it can. */
function noUring(): string | false {
  try {
    new UringEngine().close();
    return false;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

class Result {
  value: number | undefined;
  finished(result: number): void {
    this.value = result;
  }
}

/** An engine, a file, memory and vectors over it. */
function rig(t: Test, engine: WatchedEngine, content: Uint8Array) {
  const owner = new Owner();
  t.teardown(() => owner.close());
  owner.own(engine);
  const folder = mkdtempSync(join(tmpdir(), 'colo-engine-'));
  owner.defer(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'file');
  writeFileSync(path, content);
  const fd = openSync(path, 'r+') as Fd;
  owner.defer(() => closeSync(fd));
  const mapping = owner.own(new AnonymousMapping('test', 1 << 20));
  const memory = new Uint8Array(viewMemory(mapping.address, mapping.sizeBytes));
  const { vectors } = owner.own(new IoVectors(64, 8));
  const epoll = owner.own(new Epoll());
  epoll.add(engine.completions.fd, EPOLLIN | EPOLLET, 0);
  const vector = (index: number, offset: number, ...ranges: [offset: number, length: number][]) => {
    const data = vectors[index];
    if (data === undefined) throw new RangeError(`no vector ${index}`);
    data.clear();
    data.offset = offset;
    for (const [offset, length] of ranges) data.add(mapping.address + offset, length);
    return data;
  };
  /** As the io thread does: start, and then reap whenever the counter says so. */
  const settle = () => {
    engine.start();
    const limit = Date.now() + 10_000;
    while (engine.inFlight > 0) {
      // A wait may end with nothing: io_uring's work in this thread interrupts it as a signal does.
      epoll.wait(1000, () => engine.reap());
      if (Date.now() > limit) throw new Error('no completion was counted for 10 s');
    }
  };
  return { engine, path, fd, memory, vector, settle };
}

const engines: [name: string, make: (entries?: number) => WatchedEngine, skip: string | false][] = [
  ['plain', () => new PlainEngine(), false],
  ['io_uring', (entries) => new UringEngine(entries), noUring()],
];

for (const [name, make, skip] of engines) {
  test(`${name}: reads into scattered memory, and writes from it`, { skip }, async (t) => {
    const { engine, fd, path, memory, vector, settle } = rig(t, make(), Buffer.from('0123456789'));
    const [read, write] = [new Result(), new Result()];
    engine.read(fd, vector(0, 1, [100, 3], [0, 2]), read);
    settle();
    t.equal(read.value, 5);
    t.equal(Buffer.from(memory.subarray(100, 103)).toString(), '123');
    t.equal(Buffer.from(memory.subarray(0, 2)).toString(), '45');
    engine.write(fd, vector(1, 8, [0, 2], [100, 1]), write);
    settle();
    t.equal(write.value, 3);
    t.equal(readFileSync(path, 'utf8'), '01234567451');
  });

  test(`${name}: a read that meets the end of the file is short`, { skip }, async (t) => {
    const { engine, fd, vector, settle } = rig(t, make(), Buffer.from('0123456789'));
    const results = [new Result(), new Result()];
    results.forEach((result, index) => {
      engine.read(fd, vector(index, 6 + index * 4, [0, 8]), result);
    });
    settle();
    t.strictSame(
      results.map(({ value }) => value),
      [4, 0],
    );
  });

  test(`${name}: errors are negative errno values`, { skip }, async (t) => {
    const { engine, vector, settle } = rig(t, make(), Buffer.alloc(8));
    const results = [new Result(), new Result(), new Result()] as const;
    engine.read(-1 as Fd, vector(0, 0, [0, 8]), results[0]);
    engine.sync(-1 as Fd, results[1]);
    engine.allocate(-1 as Fd, 0, 0, 8, results[2]);
    settle();
    t.strictSame(
      results.map(({ value }) => value),
      [-9, -9, -9],
    );
  });

  test(`${name}: offsets beyond 4 GiB are exact`, { skip }, async (t) => {
    const { engine, fd, memory, vector, settle } = rig(t, make(), Buffer.alloc(0));
    const offset = 5 * 1024 ** 3 + 512;
    memory.set(Buffer.from('far away'));
    const [write, read] = [new Result(), new Result()];
    engine.write(fd, vector(0, offset, [0, 8]), write);
    settle();
    engine.read(fd, vector(1, offset, [64, 8]), read);
    settle();
    t.strictSame([write.value, read.value], [8, 8]);
    t.equal(Buffer.from(memory.subarray(64, 72)).toString(), 'far away');
  });

  test(`${name}: syncs, and punches holes`, { skip }, async (t) => {
    const { engine, fd, path, settle } = rig(t, make(), Buffer.alloc(8192, 1));
    const [allocate, sync] = [new Result(), new Result()];
    engine.allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096, allocate);
    engine.sync(fd, sync);
    settle();
    t.strictSame([allocate.value, sync.value], [0, 0]);
    t.strictSame(readFileSync(path), Buffer.concat([Buffer.alloc(4096, 1), Buffer.alloc(4096)]));
  });

  test(`${name}: takes many more calls than its rings have room for`, { skip }, async (t) => {
    const { engine, fd, memory, vector, settle } = rig(
      t,
      make(4),
      Buffer.from(Array.from({ length: 64 }, (_, i) => i)),
    );
    let finished = 0;
    for (let round = 0; round < 50; round++) {
      for (let index = 0; index < 64; index++) {
        engine.read(fd, vector(index, index, [index, 1]), { finished: (result) => (finished += result) });
      }
    }
    t.equal(finished, 0, 'nothing finishes before start');
    t.equal(engine.inFlight, 3200);
    settle();
    t.equal(finished, 3200);
    t.equal(engine.inFlight, 0);
    t.strictSame([...memory.subarray(0, 64)], [...Array(64).keys()]);
  });

  test(`${name}: what a completion submits is started without being told`, { skip }, async (t) => {
    const { engine, fd, vector, settle } = rig(t, make(), Buffer.alloc(8192, 7));
    const second = new Result();
    engine.sync(fd, {
      finished: () => {
        engine.read(fd, vector(0, 0, [0, 16]), second);
        engine.start();
        t.equal(second.value, undefined, 'nothing finishes within a submission');
      },
    });
    settle();
    t.equal(second.value, 16);
  });

  test(`${name}: listeners hear of a batch once it is delivered`, { skip }, async (t) => {
    const { engine, fd, vector, settle } = rig(t, make(), Buffer.alloc(512));
    let delivered = 0;
    let heard = 0;
    engine.listen({ batchFinished: () => (heard = delivered) });
    engine.reap();
    for (let index = 0; index < 8; index++) {
      engine.read(fd, vector(index, 0, [0, 8]), { finished: () => delivered++ });
    }
    settle();
    t.equal(delivered, 8);
    t.equal(heard, 8);
  });

  test(`${name}: closing twice gives back what was opened, once`, { skip }, async (t) => {
    make().close(); // what is loaded late is loaded now
    const before = openFiles().length;
    const engine = make();
    engine.close();
    engine.close();
    t.equal(openFiles().length, before);
  });
}
