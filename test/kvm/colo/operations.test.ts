import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { Snapshot } from '../../../src/vmm/snapshot/snapshot-file.ts';
import { noEtcd } from '../../support/etcd.ts';
import { recitingPatiently } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { Pair } from '../../support/pair.ts';
import { type Ending, kernelFile, runVmm, VmmProcess } from '../../support/vmm-process.ts';

// What an operator does to a machine, done while it is protected: the pair stays what it is, and what is written is good.

const options = { skip: noKvm() || noEtcd(), timeout: 180_000 };
const alphabet = 'abcdefghijklmnopqrstuvwxyz';

/** A protected guest that recites, and how one speaks about it. */
async function protectedGuest(t: Test) {
  const pair = await Pair.make(t);
  const standby = pair.standby('--serial', 'stdio,eof=ignore');
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), '--memory', '16M');
  await pair.protected();
  const say = (command: string, ...words: readonly string[]): Promise<Ending> =>
    runVmm([command, ...words, '--control', pair.control('a'), '--json']);
  return { pair, primary, standby, say };
}

/** Done, and both sides are what they were. */
async function keepsTheRoles(t: Test, pair: Pair, { code, stderr }: Ending): Promise<void> {
  t.equal(code, 0, stderr);
  await pair.protected();
}

/** The standby's guest goes on when the primary's process is gone. */
async function isTakenOver(pair: Pair, primary: VmmProcess, standby: VmmProcess): Promise<void> {
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  await standby.printed(alphabet);
}

test('snapshots of a protected machine, whole and incremental, and a machine goes on from each', options, async (t) => {
  const { pair, primary, standby, say } = await protectedGuest(t);
  const snapshots = ['whole.snap', 'first.snap', 'second.snap'].map((name) => join(pair.folder, name));
  const [whole = '', first = '', second = ''] = snapshots;
  await keepsTheRoles(t, pair, await say('snapshot', whole));
  await keepsTheRoles(t, pair, await say('snapshot', first, '--incremental'));
  // The checkpoint takes pages that the next snapshot needs, too: each keeps a count of its own.
  await keepsTheRoles(t, pair, await say('checkpoint'));
  await keepsTheRoles(t, pair, await say('snapshot', second, '--incremental'));
  const last = new Snapshot(second);
  t.equal(last.tail.base === null, false, 'it is incremental');
  last.close();
  await isTakenOver(pair, primary, standby);
  for (const path of snapshots) {
    const restored = new VmmProcess(['restore', path, '--control', join(pair.folder, 'restored.sock')]);
    t.teardown(() => restored.child.kill('SIGKILL'));
    await restored.printed(alphabet);
    await restored.endedBySignal('SIGKILL');
  }
});

test(
  'a protected machine is paused and resumed; a standby that takes over meanwhile runs it (spec A.4)',
  options,
  async (t) => {
    const { pair, primary, standby, say } = await protectedGuest(t);
    await keepsTheRoles(t, pair, await say('pause'));
    await keepsTheRoles(t, pair, await say('checkpoint'));
    await keepsTheRoles(t, pair, await say('resume'));
    const { length } = primary.stdout;
    await until(() => primary.stdout.length > length + alphabet.length);
    await keepsTheRoles(t, pair, await say('pause'));
    const { epoch } = await pair.status('a', () => true);
    await keepsTheRoles(t, pair, await say('checkpoint'));
    await pair.status('b', ({ epoch: now }) => now > epoch);
    await isTakenOver(pair, primary, standby);
  },
);

test('a protected guest is reset in place, and its standby has the new one', options, async (t) => {
  const { pair, primary, standby, say } = await protectedGuest(t);
  for (let times = 0; times < 3; times++) {
    const before = await pair.status('b', () => true);
    await keepsTheRoles(t, pair, await say('reset'));
    await pair.status('b', ({ epoch }) => epoch > before.epoch);
  }
  await isTakenOver(pair, primary, standby);
});

test('a snapshot that cannot be written harms neither the guest nor its protection', options, async (t) => {
  const { pair, primary, standby, say } = await protectedGuest(t);
  writeFileSync(join(pair.folder, 'a file'), '');
  const { code, stderr } = await say('snapshot', join(pair.folder, 'a file', 'web.snap'));
  t.equal(code, 1);
  t.match(stderr, /^colo-vmm: [^\n]+\n$/, 'one line');
  await pair.protected();
  await isTakenOver(pair, primary, standby);
});
