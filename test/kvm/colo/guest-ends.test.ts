import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { type Mode, SmallPair } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// The end of a protected guest is that of both sides (spec B.13): exit code 0, and all that clients were told is on both disks.

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 180_000 };

for (const [how, end] of [
  ['by itself', (small) => small.order('powerOff')],
  [
    'when its power button is pressed',
    async (small) => {
      const { code, stdout } = await small.say('stop');
      if (code !== 0 || !stdout.includes('guest-shutdown')) throw new Error(stdout);
    },
  ],
] as readonly (readonly [string, (small: SmallPair) => Promise<void>])[]) {
  for (const mode of ['comparing', 'buffered'] as const satisfies Mode[]) {
    test(`${mode}: a guest that powers off ${how} ends both sides, whose disks are equal`, options, async (t) => {
      const small = await SmallPair.make(t, { mode });
      await end(small);
      for (const side of ['a', 'b'] as const) {
        const { code, stderr } = await small.sides[side].ended;
        t.equal(code, 0, stderr);
        small.diskIsRight(side);
      }
    });
  }
}
