import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import type { WatchedEngine } from '../../../src/block/disk-engine.ts';
import { Overlay } from '../../../src/block/overlay.ts';
import { overlayHeader } from '../../../src/block/overlay-file.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { UringEngine } from '../../../src/block/uring-engine.ts';
import { EINVAL } from '../../../src/host/errno.ts';
import { DiskRig, type TestRequest } from '../../support/disk-rig.ts';
import { openFiles } from '../../support/open-files.ts';
import { randomNumbers } from '../../support/random.ts';
import { ShuffledEngine } from '../../support/shuffled-engine.ts';

const block = 4096;

/** A base of sectors that tell their number. */
function baseContent(sizeBytes: number): Buffer {
  const content = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 4) content.writeUInt32LE(0x1000_0000 + at, at);
  return content;
}

class OverlayRig extends DiskRig {
  readonly content: Buffer;

  constructor(t: Test, sizeBytes: number, engine?: WatchedEngine) {
    super(t, engine);
    this.content = baseContent(sizeBytes);
    writeFileSync(this.path('base'), this.content);
  }

  open(): Overlay {
    const base = RawFile.open(this.path('base'), { readOnly: true }, this.engines);
    return Overlay.open(this.path('top'), base, {}, this.engines);
  }
}

test('an overlay that was never written to reads as its base', async (t) => {
  const rig = new OverlayRig(t, 10 * block + 1536);
  const overlay = rig.owner.own(rig.open());
  t.equal(overlay.sizeBytes, rig.content.length);
  t.strictSame(rig.read(overlay, 0, rig.content.length), rig.content);
  t.strictSame(rig.read(overlay, 3 * block + 512, 6000 * 1), rig.content.subarray(3 * block + 512, 3 * block + 6512));
});

test('writes change the overlay and not the base, and last beyond closing', async (t) => {
  const rig = new OverlayRig(t, 10 * block);
  const overlay = rig.open();
  const expected = Buffer.from(rig.content);
  for (const [offset, length] of [
    [block, block], // a whole block
    [3 * block + 512, 1024], // within one
    [4 * block + 2048, 2 * block], // both edges
    [3 * block, 512], // an allocated one again
  ] as const) {
    const bytes = Buffer.alloc(length, offset / 512 + 1);
    t.equal(rig.write(overlay, offset, bytes), 0);
    bytes.copy(expected, offset);
    t.strictSame(rig.read(overlay, 0, expected.length), expected);
  }
  overlay.close();
  const again = rig.owner.own(rig.open());
  t.strictSame(rig.read(again, 0, expected.length), expected);
  t.strictSame(readFileSync(rig.path('base')), rig.content);
});

test('the end of a base that is no whole block can be written', async (t) => {
  const rig = new OverlayRig(t, 2 * block + 1536);
  const overlay = rig.open();
  const expected = Buffer.from(rig.content).fill(9, 2 * block + 512, 2 * block + 1024);
  t.equal(rig.write(overlay, 2 * block + 512, Buffer.alloc(512, 9)), 0);
  t.strictSame(rig.read(overlay, 0, expected.length), expected);
  t.equal(rig.write(overlay, 2 * block + 1024, Buffer.alloc(1024, 9)), -EINVAL);
  t.equal(rig.write(overlay, 2 * block + 1024, Buffer.alloc(512, 8)), 0);
  overlay.close();
  t.strictSame(rig.read(rig.owner.own(rig.open()), 0, expected.length), expected.fill(8, 2 * block + 1024));
});

test('discarded and zeroed bytes are zero, never the base again', async (t) => {
  const rig = new OverlayRig(t, 10 * block);
  const overlay = rig.open();
  const expected = Buffer.from(rig.content);
  t.equal(rig.discard(overlay, block + 512, 2 * block), 0);
  expected.fill(0, 2 * block, 3 * block);
  t.strictSame(rig.read(overlay, 0, expected.length), expected, 'whole blocks only');
  t.equal(rig.discard(overlay, 9 * block + 512, 1024), 0);
  t.equal(rig.discard(overlay, 8 * block, 2 * block), 0);
  expected.fill(0, 8 * block);
  for (const unmap of [false, true]) {
    const at = unmap ? 4 * block : 6 * block;
    t.equal(rig.writeZeroes(overlay, at + 1024, 512, unmap), 0);
    expected.fill(0, at + 1024, at + 1536);
    t.strictSame(rig.read(overlay, 0, expected.length), expected);
  }
  t.equal(rig.writeZeroes(overlay, 512, 7 * block, true), 0);
  expected.fill(0, 512, 512 + 7 * block);
  t.strictSame(rig.read(overlay, 0, expected.length), expected);
  overlay.close();
  t.strictSame(rig.read(rig.owner.own(rig.open()), 0, expected.length), expected);
});

test('an overlay of a large disk takes little space', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('base'), '');
  truncateSync(rig.path('base'), 64 * 1024 ** 3);
  const base = RawFile.open(rig.path('base'), { readOnly: true }, rig.engines);
  const overlay = rig.owner.own(Overlay.open(rig.path('top'), base, {}, rig.engines));
  t.equal(rig.write(overlay, 63 * 1024 ** 3 + 512, Buffer.alloc(block, 5)), 0);
  t.equal(rig.flush(overlay), 0);
  t.strictSame(rig.read(overlay, 63 * 1024 ** 3 + 512, block), Buffer.alloc(block, 5));
  const { blocks } = statSync(rig.path('top'));
  t.ok(blocks * 512 < 64 * 1024, `${blocks * 512} bytes`);
});

/** Sectors as numbers: a model of a disk that is easy to compare. */
function sectorsOf(bytes: Buffer): string[] {
  return Array.from({ length: bytes.length / 512 }, (_, index) =>
    bytes.toString('latin1', index * 512, index * 512 + 512),
  );
}

for (const [name, makeEngine] of [
  ['one after the other', () => undefined],
  ['in any order', (random: (limit: number) => number) => new ShuffledEngine(random)],
] as const) {
  for (let seed = 1; seed <= 8; seed++) {
    test(`agrees with an array of bytes, calls ${name}, seed ${seed}`, async (t) => {
      const random = randomNumbers(seed);
      const sectors = 12 * 8 + 3;
      const rig = new OverlayRig(t, sectors * 512, makeEngine(random));
      const model = Buffer.from(rig.content);
      let overlay = rig.open();
      for (let round = 0; round < 60; round++) {
        // Several requests at a time that have no sector in common, but blocks.
        const requests: TestRequest[] = [];
        const checks: (() => void)[] = [];
        let at = random(6);
        while (at < sectors && requests.length < 12) {
          const count = Math.min(1 + random(random(3) === 0 ? 20 : 5), sectors - at);
          const [offset, length, memory] = [at * 512, count * 512, 1024 * 1024 + at * 512];
          const request = rig.request(offset, [memory, length]);
          switch (random(8)) {
            case 0:
              overlay.writeZeroes(request, random(2) === 0);
              model.fill(0, offset, offset + length);
              break;
            case 1: {
              overlay.discard(request);
              const end =
                offset + length === model.length ? model.length : Math.floor((offset + length) / block) * block;
              const start = Math.ceil(offset / block) * block;
              if (start < end) model.fill(0, start, end);
              break;
            }
            case 2:
            case 3:
              overlay.read(request);
              checks.push(() => {
                const got = sectorsOf(Buffer.from(rig.memory.subarray(memory, memory + length)));
                t.strictSame(got, sectorsOf(model.subarray(offset, offset + length)));
              });
              break;
            case 4:
              overlay.flush(request);
              break;
            default: {
              const bytes = Buffer.alloc(length, 1 + random(255));
              rig.memory.set(bytes, memory);
              overlay.write(request);
              bytes.copy(model, offset);
            }
          }
          requests.push(request);
          at += count + random(4);
        }
        overlay.start();
        while (requests.some(({ result }) => result === undefined)) rig.engine.reap();
        t.ok(requests.every(({ result }) => result === 0));
        for (const check of checks) check();
        if (random(10) === 0) {
          overlay.close();
          overlay = rig.open();
        }
      }
      t.strictSame(sectorsOf(rig.read(overlay, 0, model.length) as Buffer), sectorsOf(model));
      overlay.close();
      t.strictSame(readFileSync(rig.path('base')), rig.content);
    });
  }
}

test('flushes that come while one is under way are done by the next', async (t) => {
  const rig = new OverlayRig(t, 10 * block, new ShuffledEngine(() => 0));
  const overlay = rig.owner.own(rig.open());
  const flushes = [rig.request(0), rig.request(0), rig.request(0)] as const;
  overlay.flush(flushes[0]);
  overlay.flush(flushes[1]);
  overlay.flush(flushes[2]);
  t.equal(rig.engine.inFlight, 1, 'one fdatasync');
  rig.engine.reap();
  t.strictSame(
    flushes.map(({ result }) => result),
    [0, undefined, undefined],
  );
  rig.engine.reap();
  t.strictSame(
    flushes.map(({ result }) => result),
    [0, 0, 0],
  );
  t.equal(rig.engine.inFlight, 0);
});

test('a flush writes no bit of a block that was written after it began', async (t) => {
  let choice = 0;
  const rig = new OverlayRig(t, 10 * block, new ShuffledEngine(() => choice));
  const overlay = rig.owner.own(rig.open());
  const bits = () => readFileSync(rig.path('top'))[block];
  rig.write(overlay, 0, Buffer.alloc(block, 1));
  const flush = rig.request(0);
  overlay.flush(flush);
  const late = rig.request(block, [0, block]);
  overlay.write(late);
  choice = 1; // the write before the flush's first sync
  rig.engine.reap();
  t.equal(late.result, 0);
  choice = 0;
  while (flush.result === undefined) rig.engine.reap();
  t.equal(bits(), 0b01);
  t.equal(rig.flush(overlay), 0);
  t.equal(bits(), 0b11);
});

test('works over io_uring', async (t) => {
  let engine: UringEngine;
  try {
    engine = new UringEngine();
  } catch (error) {
    t.match(error, { code: 'IO_URING_UNAVAILABLE' });
    return;
  }
  const rig = new OverlayRig(t, 10 * block, engine);
  const overlay = rig.owner.own(rig.open());
  const expected = Buffer.from(rig.content).fill(7, 512, 512 + 2 * block);
  t.equal(rig.write(overlay, 512, Buffer.alloc(2 * block, 7)), 0);
  t.equal(rig.flush(overlay), 0);
  t.strictSame(rig.read(overlay, 0, expected.length), expected);
});

test('what is not the overlay of this base is refused, and nothing stays open', async (t) => {
  const rig = new OverlayRig(t, 10 * block);
  rig.open().close();
  const good = readFileSync(rig.path('top'));
  const before = openFiles();
  const refused = (change: (bytes: Buffer) => Buffer | undefined, message: RegExp) => {
    const copy = Buffer.from(good);
    writeFileSync(rig.path('top'), change(copy) ?? copy);
    t.throws(() => rig.open(), { name: 'DiskError', code: 'DISK', message });
    t.strictSame(openFiles(), before);
  };
  const { magic, version, sizeBytes, checksum, dataOffset } = overlayHeader.offsets;
  refused((bytes) => bytes.subarray(0, good.length - block), /top is truncated: \d+ bytes of \d+/);
  refused((bytes) => void bytes.fill(0, magic, magic + 8), /top is not an overlay/);
  refused(() => Buffer.alloc(block, 'x'), /top is not an overlay/);
  refused(() => Buffer.alloc(512), /top is not an overlay/);
  refused((bytes) => void bytes.writeUInt32LE(2, version), /format version 2; this program knows version 1/);
  refused((bytes) => void bytes.writeUInt32LE(1, checksum), /damaged header/);
  refused((bytes) => void bytes.writeUInt32LE(1, dataOffset), /damaged header/);
  refused((bytes) => void bytes.writeUInt32LE(4096, sizeBytes), /damaged header/);
  writeFileSync(rig.path('top'), good);
  const larger = rig.path('larger');
  writeFileSync(larger, baseContent(11 * block));
  t.throws(
    () => Overlay.open(rig.path('top'), RawFile.open(larger, { readOnly: true }, rig.engines), {}, rig.engines),
    { code: 'DISK', message: /belongs to a base of 40960 bytes, this one has 45056/ },
  );
  const nowhere = rig.path('missing/top');
  t.throws(() => Overlay.open(nowhere, RawFile.open(larger, { readOnly: true }, rig.engines), {}, rig.engines), {
    code: 'DISK',
    message: /missing\/top cannot be made: ENOENT/,
  });
  t.strictSame(openFiles(), before);
});

test('an overlay has one user, a base any number', async (t) => {
  const rig = new OverlayRig(t, 10 * block);
  const overlay = rig.owner.own(rig.open());
  t.throws(() => rig.open(), { code: 'DISK', message: /top is in use by pid/ });
  const base = RawFile.open(rig.path('base'), { readOnly: true }, rig.engines);
  const other = rig.owner.own(Overlay.open(rig.path('other'), base, {}, rig.engines));
  t.equal(rig.write(overlay, 0, Buffer.alloc(512, 1)), 0);
  t.strictSame(rig.read(other, 0, 512), rig.content.subarray(0, 512));
});
