import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { SmallPair, type SmallPairParts } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';
import { temporaryFolder } from '../../support/vmm-process.ts';

// Machines of other shapes are protected, taken over, and protected again, as the plainest one is.

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 280_000 };

const shapes: Readonly<Record<string, Omit<SmallPairParts, 'mode'>>> = {
  'two vCPUs, three disks of unequal size, direct=on, two cards': {
    primary: ['--cpus', '2'],
    moreDisks: 2,
    diskKeys: ',direct=on',
    moreCards: 1,
  },
  '1.5 GiB of memory': { memory: '1536M' },
};

for (const [shape, parts] of Object.entries(shapes)) {
  for (const mode of ['comparing', 'buffered'] as const) {
    test(`${mode}: ${shape}`, options, async (t) => {
      const small = await SmallPair.make(t, { ...parts, mode });
      await small.failsOver();
      small.startStandby();
      await small.isWhole();
      await small.serves();
      await small.failsOver();
    });
  }
}

for (const mode of ['comparing', 'buffered'] as const) {
  test(`${mode}: a disk that is an overlay, whose base is another one on the standby`, options, async (t) => {
    const standbyFolder = temporaryFolder(t);
    const theirs = Buffer.alloc(4 << 20, 7);
    writeFileSync(join(standbyFolder, 'disk-b.img'), theirs);
    const small = await SmallPair.make(t, { mode, overlay: true, standbyFolder });
    const blank = Buffer.alloc(1 << 20);
    t.ok(small.diskContent('b').subarray(-blank.length).equals(blank), 'what its base has there is covered');
    await small.failsOver();
    small.startStandby();
    await small.isWhole();
    await small.serves();
    await small.failsOver();
    t.ok(readFileSync(small.diskPath('b')).equals(theirs), 'bases are only read');
    t.ok(readFileSync(small.diskPath('a')).equals(Buffer.alloc(theirs.length)), 'on either side');
  });
}
