import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Snapshot } from '../../../src/vmm/snapshot/snapshot-file.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { type SmallMoment, SmallPair } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// A survivor's snapshots are as those of any machine: while its RAM settles, afterwards, and when it is protected again.

const options = { skip: noKvm() || noTaps() || noEtcd(), timeout: 280_000 };
const MiB = 1024 * 1024;
/** So much that it settles for seconds: a snapshot is taken meanwhile. */
const memoryMiB = 1536;

/** RAM of that process that is a checkpoint's still, MiB. */
function unsettledMiB(pid: number): number {
  const maps = readFileSync(`/proc/${pid}/maps`, 'latin1').matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) rw-p .*memfd:checkpoint/gm,
  );
  return [...maps].reduce((sum, [, from = '', to = '']) => sum + (parseInt(to, 16) - parseInt(from, 16)) / MiB, 0);
}

for (const mode of ['comparing', 'buffered'] as const) {
  test(
    `${mode}: a survivor's snapshots, whole and incremental, and a machine goes on from each`,
    options,
    async (t) => {
      const small = await SmallPair.make(t, { mode, memory: `${memoryMiB}M` });
      const moments = new Map<string, SmallMoment>();
      /** @param isIncremental has others before it */
      const snapshot = async (name: string, isIncremental: boolean, ...words: readonly string[]): Promise<void> => {
        const path = join(small.pair.folder, `${name}.snap`);
        t.match(await small.say('snapshot', path, ...words), { code: 0 }, name);
        const file = new Snapshot(path);
        t.equal(file.tail.base !== null, isIncremental, name);
        file.close();
        moments.set(path, small.moment(join(small.pair.folder, `${name}.img`)));
        await small.serves();
      };
      await small.failsOver();
      const { pid } = small.sides[small.primary];
      await snapshot('whole', false);
      await snapshot('first', false, '--incremental');
      if (mode === 'comparing') {
        await until(() => unsettledMiB(pid) < memoryMiB);
        await snapshot('settling', true, '--incremental');
        t.ok(unsettledMiB(pid) > 0, 'taken before all was settled');
        await until(() => unsettledMiB(pid) === 0);
      }
      await snapshot('settled', true, '--incremental');
      small.startStandby();
      await small.isWhole();
      await snapshot('protected', true, '--incremental');
      await small.isWhole();
      for (const side of ['b', 'a'] as const) await small.sides[side].endedBySignal('SIGKILL');
      for (const [path, moment] of moments) await small.goesOnFrom(path, moment);
    },
  );
}
