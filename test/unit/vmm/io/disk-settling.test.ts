import { copyFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { Overlay } from '../../../../src/block/overlay.ts';
import { RawFile } from '../../../../src/block/raw-file.ts';
import { EIO } from '../../../../src/host/errno.ts';
import { DiskSettling, type SettlingParts } from '../../../../src/vmm/io/disk-settling.ts';
import { DiskRig } from '../../../support/disk-rig.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';

/** A thread with time of its own, in which each turn takes 100 ms. */
function thread(parts: Partial<SettlingParts> = {}): { settling: DiskSettling; turns: () => number } {
  let turns = 0;
  const settling = new DiskSettling({
    idle: () => true,
    now: () => turns * 100,
    ...parts,
    turn: () => {
      turns++;
      parts.turn?.();
    },
  });
  return { settling, turns: () => turns };
}

test('finishes what is in flight, then flushes each disk that can be written', async (t) => {
  const disks = [new FakeBackend(512), new FakeBackend(512), new FakeBackend(512, true)];
  let inFlight = 2;
  const { settling, turns } = thread({
    idle: () => inFlight === 0,
    turn: () => {
      if (inFlight > 0) {
        inFlight--;
        t.strictSame(
          disks.flatMap(({ log }) => log),
          [],
          'none is flushed before',
        );
      } else for (const disk of disks) disk.settle();
    },
  });
  for (const [index, disk] of disks.entries()) settling.add(`disk ${index}`, disk);
  t.equal(settling.settle(1000), undefined);
  t.strictSame(
    disks.map(({ log }) => log),
    [['flush'], ['flush'], []],
  );
  t.equal(turns(), 3);
});

test('a flush that fails is told by its disk’s name, each time', async (t) => {
  const [good, bad] = [new FakeBackend(512), new FakeBackend(512)];
  bad.resultOf = () => -EIO;
  const { settling } = thread({
    turn: () => {
      good.settle();
      bad.settle();
    },
  });
  settling.add('disk good', good);
  settling.add('disk bad', bad);
  for (let round = 0; round < 2; round++) t.equal(settling.settle(1000), 'disk bad cannot be flushed: EIO');
  bad.resultOf = () => undefined;
  t.equal(settling.settle(1000), undefined);
});

test('a disk that hangs does not hold it up, and is flushed anew once it is back', async (t) => {
  const disk = new FakeBackend(512);
  let hangs = true;
  const { settling, turns } = thread({
    turn: () => {
      if (!hangs) disk.settle();
    },
  });
  settling.add('disk root', disk);
  t.equal(settling.settle(1000), 'disk root has not finished what it was writing within 1 s');
  t.equal(settling.settle(1000), 'disk root has not finished what it was writing within 1 s');
  t.equal(turns(), 20);
  t.strictSame(disk.log, ['flush'], 'no request is made of one that is in flight');
  hangs = false;
  t.equal(settling.settle(1000), undefined);
  t.strictSame(disk.log, ['flush', 'flush'], 'what was written since then is covered');

  const busy = thread({ idle: () => false });
  busy.settling.add('disk root', disk);
  t.equal(busy.settling.settle(500), 'a disk has not finished what it was writing within 0.5 s');
});

test('a copy of an overlay that is settled holds every write that is finished', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('base'), Buffer.alloc(4 * 4096, 1));
  const open = (name: string): Overlay =>
    Overlay.open(rig.path(name), RawFile.open(rig.path('base'), { readOnly: true }, rig.engines), {}, rig.engines);
  const overlay = rig.owner.own(open('top'));
  const { settling } = thread({ turn: () => rig.engine.reap() });
  settling.add('disk root', overlay);
  t.equal(rig.write(overlay, 4096, Buffer.alloc(4096, 2)), 0);
  t.equal(settling.settle(1000), undefined);
  copyFileSync(rig.path('top'), rig.path('copy'));
  const copy = rig.owner.own(open('copy'));
  t.strictSame(rig.read(copy, 4096, 4096), Buffer.alloc(4096, 2));
});
