import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { SmallPair } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// Roles change, or end, by command, while clients are served: no answer is lost or contradicted, and the disk has all of them.

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 280_000 };

for (const mode of ['comparing', 'buffered'] as const) {
  test(`${mode}: there and back by switchover, and then a loss`, options, async (t) => {
    const small = await SmallPair.make(t, { mode });
    for (let times = 0; times < 4; times++) {
      const { primary, standby } = small;
      await small.servesDuring(async () => {
        t.match(await small.say('switchover'), { code: 0 });
        t.equal((await small.sides[primary].ended).code, 5, small.sides[primary].stderr);
      });
      small.primary = standby;
      small.diskIsRight(standby);
      small.startStandby();
      await small.isWhole();
    }
    t.match(await small.pair.status('a', () => true), { term: 5, role: 'primary' });
    await small.failsOver();
  });

  test(`${mode}: protection is ended on either side, and begins again`, options, async (t) => {
    const small = await SmallPair.make(t, { mode });
    for (const side of ['a', 'b'] as const) {
      t.match(await small.servesDuring(() => small.sayTo(side, 'unprotect')), { code: 0 });
      await small.pair.status('a', ({ headline }) => headline === 'UNPROTECTED');
      await small.pair.status('b', ({ headline }) => headline === 'LISTENING');
      small.diskIsRight('a');
      t.match(await small.servesDuring(() => small.protect()), { code: 0 });
      await small.isWhole();
    }
    await small.failsOver();
  });
}
