import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { keysCommand } from '../../../src/colo/keys/keys-command.ts';
import type { ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { RawClient } from '../../support/qmp-client.ts';
import { type Ending, kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();
/** Detection is generous: a busy machine is no dead one. */
const common = ['--arbiter', 'manual', '--detection', '2000'];

/** Two hosts on loopback, and what the command line says there. */
class Hosts {
  readonly folder: string;
  readonly port: number;
  readonly #test: Test;

  private constructor(t: Test, port: number) {
    this.#test = t;
    this.folder = temporaryFolder(t);
    this.port = port;
  }

  static async make(t: Test): Promise<Hosts> {
    return new Hosts(t, await freePort());
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  disk(name: string, bytes = 1 << 20): string {
    const path = this.file(name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return `path=${path},id=root`;
  }

  /** A standby that waits. */
  async standby(...flags: readonly string[]): Promise<VmmProcess> {
    const vmm = this.#start([
      ...['standby', '--name', 'web', '--listen', `127.0.0.1:${this.port}`, '--serial', 'none'],
      ...['--control', this.file('b'), '--state', this.file('b.state'), ...common, ...flags],
    ]);
    while (!vmm.stderr.includes('waiting for a primary')) {
      await Promise.race([once(vmm.child.stderr as never, 'data'), vmm.ended.then(failIfEnded)]);
    }
    return vmm;
  }

  /** A guest that runs, and of whose protection nobody has spoken yet. */
  async guest(...flags: readonly string[]): Promise<VmmProcess> {
    const kernel = kernelFile(this.folder, spinning('ready'));
    const vmm = this.#start([
      ...['run', '--kernel', kernel, '--memory', '16M', '--name', 'web', '--control', this.file('a'), ...flags],
    ]);
    await vmm.printed('ready');
    return vmm;
  }

  /** A command about side a or b. */
  say(side: 'a' | 'b', command: string, ...flags: readonly string[]): Promise<Ending> {
    return runVmm([command, '--control', this.file(side), ...flags]);
  }

  protect(...flags: readonly string[]): Promise<Ending> {
    const standby = ['--standby', `127.0.0.1:${this.port}`, '--state', this.file('a.state'), ...common];
    return this.say('a', 'protect', ...standby, ...flags);
  }

  /** What QMP's query-colo-status says of that side. */
  async modes(side: 'a' | 'b'): Promise<unknown> {
    const client = await new RawClient(this.#test, this.file(side)).begin();
    client.socket.write('{"execute":"query-colo-status"}\n');
    for (;;) {
      const answer = (await client.next()) as { readonly return?: unknown } | undefined;
      if (answer !== undefined && !('return' in answer)) continue; // an event
      client.socket.destroy();
      return answer?.return;
    }
  }

  /** Waits until that side's headline is this one. */
  async headline(side: 'a' | 'b', wanted: string): Promise<ColoStatus> {
    for (let last = ''; ; ) {
      const { stdout } = await this.say(side, 'status', '--json');
      const { colo } = JSON.parse(stdout || '{}') as { colo?: ColoStatus };
      if (colo?.headline === wanted) return colo;
      if (colo !== undefined && colo.headline !== last) this.#test.comment(`${side} is ${colo.headline}: ${colo.why}`);
      last = colo?.headline ?? last;
    }
  }

  #start(args: readonly string[]): VmmProcess {
    const vmm = new VmmProcess(args);
    this.#test.teardown(async () => {
      vmm.child.kill('SIGKILL');
      await vmm.ended;
    });
    return vmm;
  }
}

function failIfEnded({ stderr }: Ending): never {
  throw new Error(`ended: ${stderr}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return (address as { port: number }).port;
}

/** One sentence on standard error. */
function complains(t: Test, { code, stderr }: Ending, says: RegExp): void {
  t.equal(code, 1);
  t.match(stderr, /^colo-vmm: [^\n]+\n$/, 'one line');
  t.match(stderr, says);
}

test('a guest that runs is protected, and taken over when its host is lost', { skip, timeout: 120_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  const standby = await hosts.standby('--insecure', '--disk', hosts.disk('b.img'));
  t.match((await hosts.say('b', 'status')).stdout, /^web {3}LISTENING since .*standby, here; nobody to protect yet/);
  complains(t, await hosts.say('b', 'pause'), /this standby waits for its primary/);
  complains(t, await hosts.say('b', 'stop'), /no guest runs here that could shut down/);

  const guest = await hosts.guest('--disk', hosts.disk('a.img'));
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
  const standbyWith = (...flags: readonly string[]): Promise<Ending> =>
    runVmm([
      ...['standby', '--name', 'web', '--listen', '127.0.0.1:1', '--serial', 'none', '--insecure'],
      ...['--control', hosts.file('c'), '--state', hosts.file('c.state'), ...common, ...flags],
    ]);

  const broken = createHttpServer((_request, response) => response.writeHead(500).end('no')).listen(0, '127.0.0.1');
  await once(broken, 'listening');
  t.teardown(() => broken.close());
  const { port } = broken.address() as { port: number };
  complains(t, await hosts.protect('--insecure', '--arbiter', `etcd:http://127.0.0.1:${port}`), /--arbiter: .*500/);
  complains(t, await hosts.protect('--insecure', '--arbiter', 'zookeeper'), /--arbiter zookeeper: /);
  complains(t, await hosts.protect('--insecure', '--state', '/proc/none'), /--state \/proc\/none: /);
  complains(t, await standbyWith('--state', '/proc/none'), /--state \/proc\/none: /);
  complains(t, await standbyWith('--arbiter', 'etcd:ftp://x'), /--arbiter etcd:ftp:\/\/x: /);
  complains(t, await standbyWith('--listen', `127.0.0.1:${hosts.port}`), /cannot be listened on: EADDRINUSE/);
  complains(t, await standbyWith('--disk', `path=${hosts.file('none.img')},id=root`), /none\.img/);

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
