import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect } from 'node:net';
import { test } from 'tap';
import { keysCommand } from '../../../src/colo/keys/keys-command.ts';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { common, complains, Hosts } from '../../support/two-hosts.ts';
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
  await hosts.headline('b', 'PROTECTING');

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
  const standby = await hosts.standby('--tls', b, '--disk', hosts.disk('b.img', 1 << 21));
  const garbage = connect(hosts.port, '127.0.0.1').on('error', () => {});
  garbage.end('GET / HTTP/1.1\r\n\r\n\u001b[2J');
  await once(garbage, 'close');

  complains(t, await hosts.protect('--insecure'), /is not protected: /);
  complains(t, await hosts.protect('--tls', foreign), /not of the pair "web"|closed the connection/);
  complains(t, await hosts.protect('--tls', b), /shows the certificate of this host/);
  complains(t, await hosts.protect('--tls', a), /truncate -s 1048576/);
  complains(t, await hosts.protect('--tls', a, '--detection', '500'), /--detection 2000, the primary with 500/);
  complains(t, await hosts.protect('--tls', a, '--name', 'db'), /the keys in .* are of the pair "web"/);
  t.match((await hosts.say('a', 'status')).stdout, /^state +running$/m);
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
  t.match(alone.why, /cannot be reached|it has just begun/);
  await hosts.standby('--insecure');
  await hosts.headline('a', 'PROTECTED');
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
  complains(t, await hosts.failingStandby('--listen', `127.0.0.1:${hosts.port}`), /cannot be listened on: EADDRINUSE/);
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
