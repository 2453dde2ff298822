import { test } from 'tap';
import { Etcd, noEtcd } from '../../support/etcd.ts';
import { recitingPatiently } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { kernelFile } from '../../support/vmm-process.ts';

test('a cluster of three: one member down, all gone and back, its leader killed in the midst of a takeover', {
  skip: noKvm() || noEtcd(),
  timeout: 120_000,
}, async (t) => {
  const members = await Etcd.startCluster(t);
  const down = await leaderOf(members);
  const others = members.filter((member) => member !== down);
  await down.kill();
  // A primary that finds no leader does not begin: the others elect one first.
  await Promise.all(others.map((member) => member.serves()));
  // The one that is down is asked first.
  const pair = await Pair.make(t, { arbiter: `etcd:${[down, ...others].map(({ url }) => url).join(',')}` });
  const standby = pair.standby('--serial', 'stdio,eof=ignore', ...pair.telling('b'));
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), ...pair.telling('a'));
  await pair.protected();

  await Promise.all(others.map((member) => member.kill()));
  const lost = await pair.told('a', 'arbiter-lost');
  t.match(lost, [{ event: 'arbiter-lost', pair: 'web', role: 'primary', text: /etcd does not answer/ }]);
  await pair.told('b', 'arbiter-lost');
  const before = await pair.status('a', ({ arbiter }) => arbiter.problem !== undefined);
  t.match(before, { headline: 'PROTECTED', term: 1 }, 'an arbiter is not needed while both see each other');
  await Promise.all(members.map((member) => member.start()));
  await pair.told('a', 'arbiter-back');
  await pair.told('b', 'arbiter-back');
  const after = await pair.status('a', ({ epoch, arbiter }) => epoch > before.epoch && arbiter.problem === undefined);
  t.match(after, { headline: 'PROTECTED', term: 1, since: before.since, why: before.why });
  t.match((await pair.told('a', 'protected')).at(-1), { event: 'protected' }, 'nothing else was told');

  const leader = await leaderOf(members);
  await Promise.all([leader.kill(), primary.endedBySignal('SIGKILL')]);
  const { term } = await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.equal(term, 2);
  t.match((await pair.told('b', 'failover')).slice(-2), [{ event: 'peer-lost' }, { event: 'failover' }]);
  await standby.printed('abcdefghijklmnopqrstuvwxyz');
});

async function leaderOf(members: readonly Etcd[]): Promise<Etcd> {
  const leads = await Promise.all(members.map((member) => member.isLeader()));
  const leader = members[leads.indexOf(true)];
  if (leader === undefined) throw new Error('the cluster has no leader');
  return leader;
}
