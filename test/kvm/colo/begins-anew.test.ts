import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { SmallPair } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// A guest of a pair begins anew in place, and the pair stays what it is (spec B.13).

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 280_000 };

for (const mode of ['comparing', 'buffered'] as const) {
  test(`${mode}: a guest that resets, crashes and panics by itself is protected all along`, options, async (t) => {
    const small = await SmallPair.make(t, { mode });
    for (const order of ['keyboardReset', 'acpiReset', 'tripleFault', 'panic'] as const) {
      await small.order(order);
      await small.beganAnew();
      await small.serves();
      await small.isWhole();
    }
    t.match(await small.say('reset'), { code: 0 });
    await small.beganAnew();
    await small.serves();
    await small.failsOver();
    await small.order('tripleFault');
    await small.beganAnew();
    await small.serves();
    small.startStandby();
    await small.isWhole();
    await small.order('keyboardReset');
    await small.beganAnew();
    await small.serves();
    await small.failsOver();
  });
}
