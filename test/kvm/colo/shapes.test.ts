import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { SmallPair, type SmallPairParts } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// Machines of other shapes are protected, taken over, and protected again, as the plainest one is.

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 280_000 };

const shapes: Readonly<Record<string, Omit<SmallPairParts, 'mode'>>> = {
  'two vCPUs, three disks of unequal size, direct=on, two cards': {
    primary: ['--cpus', '2'],
    moreDisks: 2,
    diskKeys: () => ',direct=on',
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
