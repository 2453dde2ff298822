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

test('a guest that is ended while its standby takes no checkpoint ends both sides as well', options, async (t) => {
  const small = await SmallPair.make(t, { mode: 'buffered' });
  const { a, b } = small.sides;
  // For less than the detection of this pair, so that neither is lost.
  b.child.kill('SIGSTOP');
  t.teardown(() => b.child.kill('SIGCONT'));
  const begun = Date.now();
  const { stdout } = await small.say('stop', '--force');
  t.match(stdout, 'host-qmp-quit');
  t.equal((await a.ended).code, 0);
  t.ok(Date.now() - begun < 3000, 'it does not wait for its standby');
  t.match(a.stderr, /its last checkpoint takes too long: b ends without it/);
  b.child.kill('SIGCONT');
  const { code, stderr } = await b.ended;
  t.equal(code, 0, stderr);
  t.match(stderr, /its last checkpoint did not come in time: these disks are of epoch \d+, older than/);
  small.diskIsRight('a');
});
