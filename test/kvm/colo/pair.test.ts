import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { protectAnswering } from '../../support/answering-pair.ts';
import { noEtcd } from '../../support/etcd.ts';
import { echoing, recitingPatiently } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { noTaps } from '../../support/taps.ts';
import { hammeredPages, hammering } from '../../support/virtio-guests.ts';
import { kernelFile, runVmm } from '../../support/vmm-process.ts';

const skip = noKvm() || noEtcd();

test('a guest goes on at its standby when the process of its primary is killed', { skip }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby('--serial', 'stdio,eof=ignore');
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  const before = await pair.status('a', ({ epoch }) => epoch > 0);
  await primary.endedBySignal('SIGKILL');
  const after = await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.equal(after.term, before.term + 1, 'the arbiter gave it the next term');
  await standby.printed('abcdefghijklmnopqrstuvwxyz');
  const again = pair.primary(kernelFile(pair.folder, recitingPatiently()));
  const { code, stderr } = await again.ended;
  t.equal(code, 1);
  t.match(stderr, /is in term 2, .* the other side has taken over since.*colo-vmm standby/s, 'no guest runs twice');
});

test('a guest goes on at its standby when whoever started the two is gone', { skip }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby();
  standby.child.stdin?.end();
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  primary.child.stdin?.end();
  const { code, stderr } = await primary.ended;
  t.equal(code, 129);
  t.match(stderr, 'stopped by the end of standard input');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  await standby.printed('abcdefghijklmnopqrstuvwxyz');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
});

test('a guest that powers off ends both sides, with its exit code', { skip }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby();
  const primary = pair.primary(kernelFile(pair.folder, echoing()));
  await pair.protected();
  primary.write('q');
  const [one, other] = await Promise.all([primary.ended, standby.ended]);
  t.equal(one.code, 0, one.stderr);
  t.equal(other.code, 0, other.stderr);
});

test('a switchover moves a guest without asking anybody, and the old primary ends', { skip }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby('--serial', 'stdio,eof=ignore', ...pair.telling('b'));
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), ...pair.telling('a'));
  const a = (...words: readonly string[]) => runVmm([...words, '--control', pair.control('a')]);
  await pair.protected();
  t.match(await runVmm(['switchover', '--control', pair.control('b')]), { code: 1, stderr: /ask the primary/ });
  pair.etcd.freeze();
  const moved = await a('switchover');
  pair.etcd.thaw();
  t.match(moved, { code: 0, stdout: /the guest runs on the other host/ }, moved.stderr);
  const { code, stderr } = await primary.ended;
  t.equal(code, 5, stderr);
  t.match(stderr, /HANDED OVER to .* in term 2/);
  for (const [side, role] of [
    ['a', 'primary'],
    ['b', 'secondary'],
  ] as const) {
    const told = { pair: 'web', role, at: /^\d{4}-\d\d-\d\dT/, text: /in term 2/ };
    t.match((await pair.told(side, 'switchover')).slice(-2), [
      { event: 'protected' },
      { event: 'switchover', ...told },
    ]);
  }
  t.notMatch(standby.stderr, 'asked for term');
  const { why } = await pair.status('b', ({ headline, term }) => headline === 'UNPROTECTED' && term === 2);
  t.match(why, 'handed the guest over');
  await standby.printed('abcdefghijklmnopqrstuvwxyz');
  const again = await pair.primary(kernelFile(pair.folder, recitingPatiently())).ended;
  t.equal(again.code, 1);
  t.match(
    again.stderr,
    /in term 2 the guest of the pair "web" is its other side's.*colo-vmm standby/s,
    'no guest runs twice',
  );
});

test('a primary whose standby is gone asks the arbiter, and finds its standby again', { skip }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby();
  pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  await standby.endedBySignal('SIGKILL');
  await pair.status('a', ({ headline, term }) => headline === 'UNPROTECTED' && term === 2);
  // By now it may say that nobody answers there.
  t.match((await runVmm(['events', '--control', pair.control('a')])).stdout, 'closed the connection');
  pair.standby();
  await pair.protected();
});

test('commands of an operator: refused where they make no sense, done where they do', { skip }, async (t) => {
  const pair = await Pair.make(t);
  pair.standby();
  pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  const a = (...words: readonly string[]) => runVmm([...words, '--control', pair.control('a')]);
  t.match(await a('failover'), { code: 1, stderr: /the standby is well/ });
  const { epoch } = await pair.status('a', () => true);
  t.match(await a('checkpoint'), { code: 0 });
  await pair.status('a', (status) => status.epoch > epoch);
  t.match(await a('unprotect'), { code: 0 });
  await pair.status('a', ({ headline }) => headline === 'UNPROTECTED');
  await pair.status('b', ({ headline }) => headline === 'LISTENING');
  t.match(await a('unprotect'), { code: 1, stderr: /not protected/ });
});

test('a standby that is told to stop lets its primary go on: nobody is asked', { skip }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby();
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), ...pair.telling('a'));
  await pair.protected();
  const { code } = await standby.endedBySignal('SIGTERM');
  t.equal(code, 143);
  const told = (await pair.told('a', 'unprotected')).map(({ event }) => event).join(' ');
  t.match(told, 'protected unprotected', 'and nothing of a failover');
  const { term } = await pair.status('a', ({ headline }) => headline === 'UNPROTECTED');
  t.equal(term, 1, 'the arbiter gave no new one');
  t.notMatch(primary.stderr, 'asked for term');
});

test('a primary that was frozen finds that it was taken over from, and its guest never runs again', {
  skip,
}, async (t) => {
  const pair = await Pair.make(t);
  pair.standby(...pair.telling('b'));
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), ...pair.telling('a'));
  await pair.protected();
  primary.child.kill('SIGSTOP');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  primary.child.kill('SIGCONT');
  const { why, next } = await pair.status('a', ({ headline }) => headline === 'FENCED');
  t.match(why, 'the arbiter gave the next term to the other side');
  t.match(next, 'colo-vmm standby');
  t.match((await pair.told('a', 'fenced')).at(-1), { role: 'primary', text: /^FENCED: the arbiter gave/ });
  t.match((await pair.told('b', 'failover')).at(-1), { role: 'secondary', text: /this side goes on, .* in term 2/ });
  const said = primary.stdout.length;
  t.match(await runVmm(['resume', '--control', pair.control('a')]), { code: 1 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal(primary.stdout.length, said);
  const { code } = await primary.endedBySignal('SIGTERM');
  t.equal(code, 143);
});

test('a standby that was frozen finds that its primary went on, and stands by again when it is well', {
  skip,
}, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.standby();
  pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  standby.child.kill('SIGSTOP');
  await pair.status('a', ({ term }) => term === 2);
  standby.child.kill('SIGCONT');
  await pair.protected();
  const { term, milestones } = await pair.status('b', () => true);
  t.equal(term, 2);
  t.match(milestones, { protected: 2, fenced: 1 }, 'what it went through is not forgotten');
  t.match(
    (await runVmm(['events', '--control', pair.control('b')])).stdout,
    /the arbiter gave the next term to the primary|the primary goes on without it, in term 2/,
  );
  t.match(standby.stderr, /stands by again once its threads have turned in time, 5 s or more from now/);
});

test('without an arbiter nobody goes on alone, until an operator says so', { skip }, async (t) => {
  const pair = await Pair.make(t);
  pair.standby();
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  pair.etcd.freeze();
  await primary.endedBySignal('SIGKILL');
  const { next } = await pair.status('b', ({ headline }) => headline === 'WAITING');
  t.match(next, '--i-am-sure');
  t.match(await runVmm(['failover', '--i-am-sure', '--control', pair.control('b')]), { code: 0 });
  const { term } = await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.equal(term, 2);
});

for (const mode of ['comparing', 'buffered']) {
  test(`${mode}: what a client asks while nobody goes on yet the survivor answers, without being asked again`, {
    skip: skip || noTaps(),
  }, async (t) => {
    const { pair, client, primary } = await protectAnswering(t, ['--mode', mode]);
    const before = await client.ask('s', 1);
    pair.etcd.freeze();
    await primary.endedBySignal('SIGKILL');
    await pair.status('b', ({ headline }) => headline === 'WAITING');
    const answer = client.ask('s', 2, 3_600_000);
    t.match(await runVmm(['failover', '--i-am-sure', '--control', pair.control('b')]), { code: 0 });
    t.ok((await answer) > before);
  });
}

test("the survivor's disk is that of its own history, whatever it was before", { skip }, async (t) => {
  const pair = await Pair.make(t);
  const [a, b] = [join(pair.folder, 'a.img'), join(pair.folder, 'b.img')];
  const pageBytes = 4096;
  const sizeBytes = 4 * 1024 * 1024;
  const content = Buffer.alloc(sizeBytes, 'what was there before, and is copied at first ');
  writeFileSync(a, content);
  writeFileSync(b, new Uint8Array(sizeBytes));
  const standby = pair.standby('--disk', `path=${b},id=root`);
  const flags = ['--disk', `path=${a},id=root`, '--checkpoint-delay', '10'];
  const primary = pair.primary(kernelFile(pair.folder, hammering('round')), ...flags);
  await pair.protected();
  // Long enough for heartbeats that do not come to be missed.
  await pair.status('a', ({ epoch }) => epoch > 150);
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { stderr } = await standby.endedBySignal('SIGTERM');
  t.notMatch(stderr, /(?<!the connection )failed/);
  const disk = readFileSync(b);
  const stamps = Array.from({ length: hammeredPages }, (_, place) => disk.readUInt32LE(place * pageBytes));
  const newest = Math.max(...stamps);
  // The last write may be on its way.
  const expected = (last: number) =>
    Array.from({ length: hammeredPages }, (_, place) => last - ((last - place) & (hammeredPages - 1)));
  t.strictSame(stamps, expected(newest), 'pages as they were written one after the other, with none missing');
  t.ok(disk.subarray(hammeredPages * pageBytes).equals(content.subarray(hammeredPages * pageBytes)));
});
