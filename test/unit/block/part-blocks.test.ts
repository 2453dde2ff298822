import { execFileSync } from 'node:child_process';
import { closeSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import type { Completion, WatchedEngine } from '../../../src/block/disk-engine.ts';
import { type DiskFile, openDiskFile } from '../../../src/block/disk-file.ts';
import { Overlay } from '../../../src/block/overlay.ts';
import { openOverlay } from '../../../src/block/overlay-file.ts';
import { PlainEngine } from '../../../src/block/plain-engine.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { UringEngine } from '../../../src/block/uring-engine.ts';
import { EINVAL, EIO, EOPNOTSUPP } from '../../../src/host/errno.ts';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../../src/host/mappings/io-vector.ts';
import { Owner } from '../../../src/host/ownership.ts';
import { DiskRig, only, type TestRequest } from '../../support/disk-rig.ts';
import { loopDevice, noLoopDevices } from '../../support/loop-device.ts';
import { randomNumbers } from '../../support/random.ts';
import { ShuffledEngine } from '../../support/shuffled-engine.ts';

const block = 4096;
const sector = 512;

/** Whether a file of blocks of 4096 bytes that is open for direct I/O would take this call. */
function fits(data: IoVector): boolean {
  if (data.offset % block !== 0) return false;
  for (let index = 0; index < data.count; index++) {
    if (data.addressOf(index) % block !== 0 || data.lengthOf(index) % block !== 0) return false;
  }
  return true;
}

/** A file system of blocks of 4096 bytes without holes, whose calls come back in any order. */
class StrictEngine extends ShuffledEngine {
  refused = 0;

  override read(fd: Fd, data: IoVector, completion: Completion): void {
    if (this.#fits(data, completion)) super.read(fd, data, completion);
  }
  override write(fd: Fd, data: IoVector, completion: Completion): void {
    if (this.#fits(data, completion)) super.write(fd, data, completion);
  }
  override allocate(_fd: Fd, _mode: number, _offset: number, _length: number, completion: Completion): void {
    super.sync(-1 as Fd, { finished: () => completion.finished(-EOPNOTSUPP) });
  }

  #fits(data: IoVector, completion: Completion): boolean {
    if (fits(data)) return true;
    this.refused++;
    super.sync(-1 as Fd, { finished: () => completion.finished(-EINVAL) });
    return false;
  }
}

/** A file that takes whole blocks only. */
function strictFile(rig: DiskRig, path: string, readOnly = false): DiskFile {
  const file = openDiskFile(path, { readOnly });
  rig.owner.defer(() => closeSync(file.fd));
  return { ...file, alignment: block };
}

/** A disk whose sectors hold their number. */
function numbered(sectors: number): Buffer {
  const content = Buffer.alloc(sectors * sector);
  for (let index = 0; index < sectors; index++) content.fill(index + 1, index * sector, (index + 1) * sector);
  return content;
}

function parts(t: Test, engine: WatchedEngine, rig: DiskRig, file: RawFile | Overlay, content: Buffer): void {
  for (const [offset, length] of [
    [0, sector],
    [sector, sector],
    [block - sector, 2 * sector],
    [2 * block + sector, 3 * block],
    [block, block],
    [3 * sector, content.length - 4 * sector],
  ] as const) {
    t.strictSame(rig.read(file, offset, length), content.subarray(offset, offset + length));
    const bytes = Buffer.alloc(length, 0x80 + (offset >> 9));
    t.equal(rig.write(file, offset, bytes), 0);
    bytes.copy(content, offset);
    t.strictSame(rig.read(file, 0, content.length), content);
    t.equal(rig.writeZeroes(file, offset, sector), 0);
    content.fill(0, offset, offset + sector);
    t.equal(rig.discard(file, content.length - sector, sector), 0, 'discard is a hint');
  }
  t.equal(rig.flush(file), 0);
  t.equal(engine.inFlight, 0);
}

test('sectors of a file that takes whole blocks only are read and written', async (t) => {
  const engine = new StrictEngine(randomNumbers(3));
  const rig = new DiskRig(t, engine);
  const content = numbered(48);
  writeFileSync(rig.path('disk'), content);
  const file = rig.owner.own(new RawFile(strictFile(rig, rig.path('disk')), rig.engines));
  parts(t, engine, rig, file, content);
  t.strictSame(readFileSync(rig.path('disk')), content);
  t.equal(engine.refused, 0);
});

test('the same through an overlay of files that take whole blocks only', async (t) => {
  const engine = new StrictEngine(randomNumbers(4));
  const rig = new DiskRig(t, engine);
  const content = numbered(48);
  writeFileSync(rig.path('base'), content);
  const base = new RawFile(strictFile(rig, rig.path('base'), true), rig.engines);
  const { file, layout, map } = openOverlay(rig.path('top'), content.length);
  rig.owner.defer(() => closeSync(file.fd));
  const below = new Owner();
  below.own(base);
  const top = { file: { ...file, alignment: block }, layout, map };
  const overlay = rig.owner.own(new Overlay(top, base, rig.engines, below));
  parts(t, engine, rig, overlay, content);
  t.equal(engine.refused, 0);
});

/**
 * Requests at once, over each other: a sector holds afterwards what one of those wrote that touched it; one that none touched
 * is as it was.
 */
function crowd(t: Test, rig: DiskRig, file: RawFile, path: string, options: { seed: number; rounds: number }): void {
  const random = randomNumbers(options.seed);
  const sectors = file.sizeBytes / sector;
  const holds = Array.from({ length: sectors }, (_, index) => index + 1);
  let wrong = '';
  for (let round = 0; round < options.rounds && wrong === ''; round++) {
    const may = holds.map(() => new Set<number>());
    const reads: { request: TestRequest; first: number; count: number; at: number }[] = [];
    const requests: TestRequest[] = [];
    for (let index = 0; index < 12; index++) {
      const first = random(sectors);
      const count = Math.min(sectors - first, random(3) === 0 ? 8 : 1 + random(20));
      const at = index * 16384 + random(2) * sector;
      const request = rig.request(first * sector, [at, count * sector]);
      requests.push(request);
      const kind = random(5);
      if (kind === 0) {
        reads.push({ request, first, count, at });
        file.read(request);
        continue;
      }
      const value = kind === 1 ? 0 : 1 + ((round * 12 + index) % 250);
      rig.memory.fill(value, at, at + count * sector);
      for (let touched = first; touched < first + count; touched++) may[touched]?.add(value);
      if (kind === 1) file.writeZeroes(request, random(2) === 0);
      else file.write(request);
    }
    file.start();
    while (requests.some(({ result }) => result === undefined)) rig.engine.reap();
    for (const { result } of requests) if (result !== 0) wrong ||= `a request gave ${result}`;
    for (const { first, count, at } of reads) {
      for (let index = 0; index < count; index++) {
        const value = rig.memory[at + index * sector] as number;
        const values = may[first + index] as Set<number>;
        if (value !== holds[first + index] && !values.has(value)) wrong ||= `sector ${first + index} read as ${value}`;
      }
    }
    const disk = readFileSync(path);
    for (const [index, values] of may.entries()) {
      const bytes = disk.subarray(index * sector, (index + 1) * sector);
      const value = bytes[0] as number;
      const right = values.size === 0 ? value === holds[index] : values.has(value);
      if (!right || !bytes.every((byte) => byte === value)) {
        wrong ||= `round ${round}: sector ${index} is ${value}, was ${holds[index]}, may be ${[...values]}`;
      }
      holds[index] = value;
    }
  }
  t.equal(wrong, '');
}

test('no write is lost to another of the same block, in whatever order they are carried out', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const engine = new StrictEngine(randomNumbers(100 + seed));
    const rig = new DiskRig(t, engine);
    writeFileSync(rig.path('disk'), numbered(64));
    const file = rig.owner.own(new RawFile(strictFile(rig, rig.path('disk')), rig.engines));
    crowd(t, rig, file, rig.path('disk'), { seed, rounds: 60 });
    t.equal(engine.refused, 0);
  }
});

test('a file that has shrunk is an I/O error for parts of its blocks too', async (t) => {
  const rig = new DiskRig(t, new PlainEngine());
  writeFileSync(rig.path('disk'), numbered(16));
  const file = rig.owner.own(new RawFile(strictFile(rig, rig.path('disk')), rig.engines));
  truncateSync(rig.path('disk'), block + 1024);
  t.equal(rig.read(file, block, sector), -EIO);
  t.equal(rig.write(file, block, Buffer.alloc(sector)), -EIO);
  t.equal(rig.write(file, 0, Buffer.alloc(sector, 9)), 0);
});

test('a device of sectors of 4096 bytes is a disk of sectors of 512', { skip: noLoopDevices() }, async (t) => {
  for (const direct of [true, false]) {
    const content = numbered(64);
    const engine = new UringEngine();
    const rig = new DiskRig(t, engine);
    writeFileSync(rig.path('image'), content);
    const device = loopDevice(t, rig.path('image'), 4096);
    const file = RawFile.open(device, { direct }, only(engine));
    parts(t, engine, rig, file, content);
    // Zeroes by way of a hole, of whole sectors of the device and of parts.
    for (const unmap of [true, false]) {
      t.equal(rig.writeZeroes(file, 2 * block, block, unmap), 0);
      t.equal(rig.writeZeroes(file, 4 * block - sector, 2 * sector, unmap), 0);
    }
    content.fill(0, 2 * block, 3 * block);
    content.fill(0, 4 * block - sector, 4 * block + sector);
    t.strictSame(rig.read(file, 0, content.length), content);
    t.equal(rig.write(file, 0, numbered(64)), 0);
    if (direct) crowd(t, rig, file, device, { seed: 5, rounds: 20 });
    file.close();
    execFileSync('blockdev', ['--flushbufs', device]);
  }
});
