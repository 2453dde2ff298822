import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import type { Completion } from '../../../src/block/disk-engine.ts';
import { Overlay } from '../../../src/block/overlay.ts';
import { PlainEngine } from '../../../src/block/plain-engine.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import type { Fd } from '../../../src/host/libc/descriptors.ts';
import { viewMemory } from '../../../src/host/libc/memory.ts';
import type { IoVector } from '../../../src/host/mappings/io-vector.ts';
import { DiskRig, only } from '../../support/disk-rig.ts';
import { randomNumbers } from '../../support/random.ts';

const block = 4096;
const blocks = 3;
const size = blocks * block;
const dataOffset = 2 * block;

/** Remembers what a loss of power could take away: what was written since the last finished sync. */
class PoweredEngine extends PlainEngine {
  durable = Buffer.alloc(0);
  unsynced: { offset: number; bytes: Buffer }[] = [];
  /** Called before each change of the file. */
  atEachStep: () => void = () => {};

  override write(fd: Fd, data: IoVector, completion: Completion): void {
    const parts = Array.from({ length: data.count }, (_, index) =>
      Buffer.from(new Uint8Array(viewMemory(data.addressOf(index), data.lengthOf(index)))),
    );
    this.unsynced.push({ offset: data.offset, bytes: Buffer.concat(parts) });
    this.atEachStep();
    super.write(fd, data, completion);
  }

  override allocate(fd: Fd, mode: number, offset: number, length: number, completion: Completion): void {
    this.unsynced.push({ offset, bytes: Buffer.alloc(length) });
    this.atEachStep();
    super.allocate(fd, mode, offset, length, completion);
  }

  override sync(fd: Fd, completion: Completion): void {
    this.atEachStep();
    super.sync(fd, {
      finished: (result) => {
        for (const { offset, bytes } of this.unsynced) bytes.copy(this.durable, offset);
        this.unsynced = [];
        completion.finished(result);
      },
    });
  }

  /** The file after a loss of power now, if only `kept` of the writes since the last sync are there. */
  image(kept: readonly { offset: number; bytes: Buffer }[]): Buffer {
    const image = Buffer.from(this.durable);
    for (const { offset, bytes } of kept) bytes.copy(image, offset);
    return image;
  }
}

/** The disk that an overlay's file holds, read by the description of the format and not by the code under test. */
function diskOf(image: Buffer, base: Buffer): Buffer {
  const disk = Buffer.from(base);
  for (let index = 0; index < blocks; index++) {
    if (((image[block + (index >> 3)] as number) & (1 << (index & 7))) === 0) continue;
    image.copy(disk, index * block, dataOffset + index * block, dataOffset + (index + 1) * block);
  }
  return disk;
}

/** A sector for each value. */
const filled = Array.from({ length: 256 }, (_, value) => Buffer.alloc(512, value));

type Action =
  | { readonly kind: 'write' | 'zero' | 'discard'; readonly sector: number; readonly count: number }
  | { readonly kind: 'flush' };

const actions: readonly Action[] = [
  { kind: 'write', sector: 0, count: 8 }, // a whole block
  { kind: 'write', sector: 6, count: 4 }, // across two
  { kind: 'zero', sector: 9, count: 2 }, // within one
  { kind: 'discard', sector: 8, count: 8 },
  { kind: 'flush' },
  { kind: 'flush' },
];

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}

/** All orders that differ. */
function histories(): Action[][] {
  const byText = new Map(permutations(actions).map((history) => [JSON.stringify(history), history]));
  return [...byText.values()];
}

/** All subsets of the writes; and some of their sectors, since a write is torn at any of them. */
function* losses(unsynced: readonly { offset: number; bytes: Buffer }[], random: (limit: number) => number) {
  for (let mask = 0; mask < 1 << unsynced.length; mask++) yield unsynced.filter((_, index) => mask & (1 << index));
  const sectors = unsynced.flatMap(({ offset, bytes }) =>
    Array.from({ length: bytes.length / 512 }, (_, index) => ({
      offset: offset + index * 512,
      bytes: bytes.subarray(index * 512, index * 512 + 512),
    })),
  );
  for (let round = 0; round < 4; round++) yield sectors.filter(() => random(2) === 0);
}

test('after a loss of power at any step all that was flushed is there, and nothing that was never written', async (t) => {
  const random = randomNumbers(1);
  const engine = new PoweredEngine();
  const rig = new DiskRig(t, engine, '/dev/shm');
  const base = Buffer.alloc(size);
  for (let sector = 0; sector < size / 512; sector++) base.fill(100 + sector, sector * 512, sector * 512 + 512);
  writeFileSync(rig.path('base'), base);

  let count = 0;
  let crashes = 0;
  let wrong = 0;
  let firstWrong = '';
  for (const history of histories()) {
    const top = rig.path(`top${count++}`);
    const overlay = Overlay.open(
      top,
      RawFile.open(rig.path('base'), { readOnly: true }, rig.engines),
      {},
      only(engine),
    );
    engine.durable = readFileSync(top);
    engine.unsynced = [];
    // What each sector may hold: its value at the last flush, and all that was written since.
    const current = Array.from({ length: size / 512 }, (_, sector) => 100 + sector);
    let allowed = current.map((value) => new Set([value]));
    let doing = '';
    engine.atEachStep = () => {
      for (const kept of losses(engine.unsynced, random)) {
        crashes++;
        const disk = diskOf(engine.image(kept), base);
        for (const [sector, values] of allowed.entries()) {
          const bytes = disk.subarray(sector * 512, sector * 512 + 512);
          const value = bytes[0] as number;
          if (values.has(value) && bytes.equals(filled[value] as Buffer)) continue;
          wrong++;
          firstWrong ||= `${doing}: sector ${sector} is ${value}, may be ${[...values]}`;
        }
      }
    };
    for (const [index, action] of history.entries()) {
      doing += ` ${JSON.stringify(action)}`;
      if (action.kind === 'flush') {
        rig.flush(overlay);
        allowed = current.map((value) => new Set([value]));
        continue;
      }
      const value = action.kind === 'write' ? index + 1 : 0;
      for (let sector = action.sector; sector < action.sector + action.count; sector++) {
        current[sector] = value;
        allowed[sector]?.add(value);
      }
      const [offset, length] = [action.sector * 512, action.count * 512];
      if (action.kind === 'write') rig.write(overlay, offset, Buffer.alloc(length, value));
      else if (action.kind === 'zero') rig.writeZeroes(overlay, offset, length);
      else rig.discard(overlay, offset, length);
    }
    engine.atEachStep();
    engine.atEachStep = () => {};
    overlay.close();
    // And the code agrees with the description about what a whole file holds.
    if (count % 50 === 1) {
      const again = Overlay.open(top, RawFile.open(rig.path('base'), { readOnly: true }, rig.engines), {}, rig.engines);
      const expected = Buffer.concat(current.map((value) => Buffer.alloc(512, value)));
      t.strictSame(rig.read(again, 0, size), expected);
      t.strictSame(diskOf(readFileSync(top), base), expected);
      again.close();
    }
  }
  t.equal(wrong, 0, firstWrong);
  t.equal(count, 360);
  t.ok(crashes > 20_000, `${crashes} crashes`);
});
