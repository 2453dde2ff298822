import { join } from 'node:path';
import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { SmallPair } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// What an operator does to a machine that is protected, done while clients are served.

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 280_000 };

for (const mode of ['comparing', 'buffered'] as const) {
  test(`${mode}: snapshots, a backup, checkpoints, pauses, and a loss while it is paused`, options, async (t) => {
    const small = await SmallPair.make(t, { mode });
    const path = (name: string): string => join(small.pair.folder, name);
    const whileServing = async (command: string, ...words: readonly string[]): Promise<void> => {
      t.match(await small.servesDuring(() => small.say(command, ...words)), { code: 0 }, command);
      await small.isWhole();
    };
    await whileServing('snapshot', path('whole.snap'));
    await whileServing('snapshot', path('first.snap'), '--incremental');
    await whileServing('checkpoint');
    await whileServing('snapshot', path('second.snap'), '--incremental');
    t.match(await small.servesDuring(() => small.sayTo('b', 'backup', path('backup'))), { code: 0 });
    for (const command of ['pause', 'checkpoint', 'resume']) {
      t.match(await small.say(command), { code: 0 }, command);
      await small.isWhole();
    }
    await small.serves();
    t.match(await small.say('pause'), { code: 0 });
    await small.failsOver();
  });
}
