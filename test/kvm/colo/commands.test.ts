import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect } from 'node:net';
import { test } from 'tap';
import { keysCommand } from '../../../src/colo/keys/keys-command.ts';
import type { ColoEvent } from '../../../src/vmm/monitor/colo-control.ts';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { common, complains, freePort, Hosts } from '../../support/two-hosts.ts';
import { kernelFile, runVmm, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();
test('a guest that runs is protected, and taken over when its host is lost', { skip, timeout: 120_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  const told = (side: string): readonly string[] => ['--on-event', `cat >> ${hosts.file(`${side}.told`)}`];
  const standby = await hosts.standby('--insecure', '--disk', hosts.disk('b.img'), ...told('b'));
  t.match((await hosts.say('b', 'status')).stdout, /^web {3}LISTENING since .*standby, here; nobody to protect yet/);
  complains(t, await hosts.say('b', 'pause'), /this standby waits for its primary/);
  complains(t, await hosts.say('b', 'stop'), /no guest runs here that could shut down/);

  const guest = await hosts.guest('--disk', hosts.disk('a.img'), ...told('a'));
  complains(t, await hosts.say('a', 'failover'), /nothing is protected here/);
  const made = await hosts.protect('--insecure', '--checkpoint-delay', '500');
  t.equal(made.code, 0, made.stderr);
  t.match(made.stdout, /protection +PROTECTED by 127\.0\.0\.1/);
  t.match((await hosts.say('a', 'status')).stdout, /^web {3}PROTECTED since .*\n +but +nothing is encrypted/);
  const { failover } = await hosts.headline('b', 'PROTECTING');
  t.ok((failover?.loadMs ?? 0) > 0, 'what a failover takes is known');

  complains(t, await hosts.protect('--insecure'), /this machine is protected already/);
  complains(t, await hosts.say('a', 'failover'), /the standby is well: nothing has failed/);
  complains(t, await hosts.say('b', 'checkpoint'), /this is the secondary of its pair: ask the primary/);
  complains(t, await hosts.say('b', 'resume'), /its guest runs on the primary/);
  t.equal((await hosts.say('a', 'checkpoint')).code, 0);
  t.match((await hosts.say('a', 'events', '--all')).stdout, /checkpoint +\d+: .*command/);

  guest.child.kill('SIGKILL');
  const waiting = await hosts.headline('b', 'WAITING');
  t.match(waiting.next, /then: colo-vmm failover$/, 'its arbiter is the operator');
  t.equal((await hosts.say('b', 'failover')).code, 0);
  await hosts.headline('b', 'UNPROTECTED');
  t.match((await hosts.say('b', 'status')).stdout, /survivor, here; term 2[\s\S]*^state +running$/m);
  const stopped = await hosts.say('b', 'stop', '--force', '--json');
  t.strictSame(JSON.parse(stopped.stdout), { ended: true, reason: 'host-qmp-quit' });
  t.equal((await standby.ended).code, 0);
  t.match(hosts.told('a'), [{ event: 'protected', pair: 'web', role: 'primary', sequence: 1 }]);
  t.match(hosts.told('b'), [
    { event: 'protected', pair: 'web', role: 'secondary', sequence: 1 },
    { event: 'peer-lost', sequence: 2 },
    { event: 'failover', sequence: 3, text: /in term 2$/ },
  ]);
});

test('protection is ended, and begins again', { skip, timeout: 120_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  await hosts.standby('--insecure');
  await hosts.guest();
  t.equal((await hosts.protect('--insecure')).code, 0);
  complains(t, await hosts.say('b', 'switchover'), /this is the secondary of its pair: ask the primary/);
  t.strictSame(await hosts.modes('a'), { mode: 'primary', 'last-mode': 'none', reason: 'none' });
  t.strictSame(await hosts.modes('b'), { mode: 'secondary', 'last-mode': 'none', reason: 'none' });
  t.equal((await hosts.say('a', 'unprotect')).code, 0);
  await hosts.headline('a', 'UNPROTECTED');
  await hosts.headline('b', 'LISTENING');
  t.strictSame(await hosts.modes('a'), { mode: 'none', 'last-mode': 'primary', reason: 'request' });
  t.strictSame(await hosts.modes('b'), { mode: 'none', 'last-mode': 'secondary', reason: 'request' });
  complains(t, await hosts.say('a', 'switchover'), /this machine is not protected/);
  t.equal((await hosts.protect('--insecure')).code, 0);
  // Each protection has a thread of its own, and all that happened stays known.
  t.match((await hosts.headline('a', 'PROTECTED')).milestones, { protected: 2, unprotected: 1 });
  const lines = (await hosts.say('a', 'events', '--json')).stdout.trimEnd().split('\n');
  t.strictSame(
    lines.flatMap((line) => (JSON.parse(line) as ColoEvent).event ?? []),
    ['protected', 'unprotected', 'protected'],
  );
  const stopped = await hosts.say('b', 'stop', '--force', '--json');
  t.strictSame(JSON.parse(stopped.stdout), { ended: true, reason: 'host-qmp-quit' }, 'a standby may leave');
});

test('an attempt that fails says why, harms nobody, and another one may follow', {
  skip,
  timeout: 180_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  const keys = async (pair: string): Promise<string[]> =>
    (await keysCommand(hosts.file(`${pair}-${Math.random()}`), { pair, hosts: 'a,b', days: '10' })).map(
      (folder) => `dir=${folder}`,
    );
  const [a = '', b = ''] = await keys('web');
  const [foreign = ''] = await keys('web');
  await hosts.guest('--disk', hosts.disk('a.img'));

  complains(t, await hosts.protect('--tls', a), /is not protected: 127\.0\.0\.1:\d+ cannot be reached: ECONNREFUSED/);
  const { unprotected } = await hosts.headline('a', 'UNPROTECTED');
  t.match(unprotected, { why: 'it has not been protected yet' });
  const standby = await hosts.standby('--tls', b, '--disk', hosts.disk('b.img', 1 << 21));
  const garbage = connect(hosts.port, '127.0.0.1').on('error', () => {});
  garbage.end('GET / HTTP/1.1\r\n\r\n\u001b[2J');
  await once(garbage, 'close');

  complains(t, await hosts.protect('--insecure'), /is not protected: .* does it speak TLS\? Give both sides --tls/);
  complains(t, await hosts.protect('--tls', foreign), /not of the pair "web"|closed the connection/);
  complains(t, await hosts.protect('--tls', b), /shows the certificate of this host/);
  complains(t, await hosts.protect('--tls', a), /truncate -s 1048576/);
  complains(t, await hosts.protect('--tls', a, '--detection', '500'), /--detection 2000, the primary with 500/);
  complains(t, await hosts.protect('--tls', a, '--name', 'db'), /the keys in .* are of the pair "web"/);
  t.match((await hosts.say('a', 'status')).stdout, /^state +running$/m);
  t.strictSame(
    (await hosts.headline('a', 'UNPROTECTED')).unprotected,
    unprotected,
    'each is told anew, the guest is not alone anew',
  );
  t.match((await hosts.say('b', 'status')).stdout, /^web {3}LISTENING/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the very thing
  t.notMatch(standby.stderr, /\u001b/, 'and nothing that a stranger sends reaches the terminal as it is');

  await hosts.say('b', 'stop', '--force');
  await standby.ended;
  await hosts.standby('--tls', b, '--disk', hosts.disk('b.img'));
  t.equal((await hosts.protect('--tls', a)).code, 0, 'the right one');
});

test('run --standby protects its guest as soon as the standby is there', { skip, timeout: 120_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  const pair = ['--standby', `127.0.0.1:${hosts.port}`, '--insecure', '--state', hosts.file('a.state'), ...common];
  await hosts.guest(...pair);
  const alone = await hosts.headline('a', 'UNPROTECTED');
  t.match(alone.why, /cannot be reached|not been protected yet/);
  await hosts.standby('--insecure');
  await hosts.headline('a', 'PROTECTED');
});

test('the delay that a client sets is the one of the pair, also before there is one, and after a takeover', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  const standbyAt = `127.0.0.1:${hosts.port}`;
  const guest = await hosts.guest('--standby', standbyAt, '--insecure', '--state', hosts.file('a.state'), ...common);
  const setDelay = (side: 'a' | 'b', delayMs: number): Promise<unknown> =>
    hosts.qmp(side, 'migrate-set-parameters', { 'x-checkpoint-delay': delayMs });
  const isDelay = async (side: 'a' | 'b', delayMs: number): Promise<void> => {
    t.match(await hosts.headline(side, 'PROTECTED'), { checkpointDelayMs: delayMs });
    t.match(await hosts.qmp(side, 'query-migrate-parameters'), { 'x-checkpoint-delay': delayMs });
  };
  t.strictSame(await setDelay('a', 7000), {});
  await hosts.standby('--insecure');
  await isDelay('a', 7000);
  t.strictSame(await setDelay('b', 9000), {});
  t.match(await hosts.headline('a', 'PROTECTED'), { checkpointDelayMs: 7000 }, 'that is for its own reign');

  guest.child.kill('SIGKILL');
  await hosts.headline('b', 'WAITING');
  t.equal((await hosts.say('b', 'failover')).code, 0);
  await hosts.headline('b', 'UNPROTECTED');
  const next = new VmmProcess([
    ...[
      'standby',
      '--name',
      'web',
      '--listen',
      `127.0.0.1:${await freePort()}`,
      '--peer',
      standbyAt,
      '--serial',
      'none',
    ],
    ...['--insecure', '--control', hosts.file('c'), '--state', hosts.file('c.state'), ...common],
  ]);
  t.teardown(async () => {
    next.child.kill('SIGKILL');
    await next.ended;
  });
  await isDelay('b', 9000);
});

test('both sides say when their guests were stopped for a checkpoint, and ran on', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  await hosts.standby('--insecure');
  await hosts.guest();
  t.equal((await hosts.protect('--insecure', '--mode', 'comparing')).code, 0);
  t.equal((await hosts.say('a', 'checkpoint')).code, 0);
  for (const [side, says] of [
    ['a', /checkpoint +1: the guest stops\n.*checkpoint +1: the guest was stopped for [\d.]+ ms, and runs on\n/s],
    ['b', /checkpoint +1: the guest is stopped here\n.*checkpoint +1: the guest runs on here\n/s],
  ] as const) {
    let { stdout } = await hosts.say(side, 'events', '--all');
    for (; !says.test(stdout); { stdout } = await hosts.say(side, 'events', '--all'));
    t.match(stdout, says);
  }
});

test('what is wrong with one of them is said in a line, and the pair that runs goes on', {
  skip,
  timeout: 180_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  await hosts.standby('--insecure', '--disk', hosts.disk('b.img'));
  await hosts.guest('--disk', hosts.disk('a.img'));

  const broken = createHttpServer((_request, response) => response.writeHead(500).end('no')).listen(0, '127.0.0.1');
  await once(broken, 'listening');
  t.teardown(() => broken.close());
  const { port } = broken.address() as { port: number };
  complains(t, await hosts.protect('--insecure', '--arbiter', `etcd:http://127.0.0.1:${port}`), /--arbiter: .*500/);
  complains(t, await hosts.protect('--insecure', '--arbiter', 'zookeeper'), /--arbiter zookeeper: /);
  complains(t, await hosts.protect('--insecure', '--state', '/proc/none'), /--state \/proc\/none: /);
  complains(t, await hosts.failingStandby('--state', '/proc/none'), /--state \/proc\/none: /);
  complains(t, await hosts.failingStandby('--arbiter', 'etcd:ftp://x'), /--arbiter etcd:ftp:\/\/x: /);
  const taken = ['--listen', `127.0.0.1:${hosts.port}`, '--on-event', `cat >> ${hosts.file('b.told')}`];
  complains(t, await hosts.failingStandby(...taken), /cannot be listened on: EADDRINUSE/);
  t.match(hosts.told('b'), [{ event: 'fenced', text: /^this standby cannot take over any more: .*EADDRINUSE/ }]);
  complains(t, await hosts.failingStandby('--disk', `path=${hosts.file('none.img')},id=root`), /none\.img/);

  t.equal((await hosts.protect('--insecure')).code, 0, 'nothing of this is in the way');
  await hosts.headline('b', 'PROTECTING');
  const scanned = connect(hosts.port, '127.0.0.1').on('error', () => {});
  scanned.end(Buffer.alloc(100_000, 0xff));
  // It may be reset, which is no error here.
  await new Promise((resolve) => scanned.once('close', resolve));
  const kernel = kernelFile(hosts.folder, spinning('ready'));
  const other = new VmmProcess([
    ...['run', '--kernel', kernel, '--memory', '16M', '--name', 'web', '--control', hosts.file('d')],
  ]);
  t.teardown(async () => {
    other.child.kill('SIGKILL');
    await other.ended;
  });
  await other.printed('ready');
  const second = await runVmm([
    ...['protect', '--control', hosts.file('d'), '--standby', `127.0.0.1:${hosts.port}`, '--insecure'],
    ...['--state', hosts.file('d.state'), ...common],
  ]);
  complains(t, second, /it stands by for 127\.0\.0\.1 already/);
  t.equal((await hosts.say('a', 'checkpoint')).code, 0, 'the first one is unharmed');
  await hosts.headline('a', 'PROTECTED');
});
