import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { defaultSettings } from '../../../../src/colo/core/settings.ts';
import { makeAuthority, signHost } from '../../../../src/colo/keys/pair-authority.ts';
import { ArbiterDesk } from '../../../../src/colo/side/arbiter-desk.ts';
import { TermStore } from '../../../../src/colo/side/term-store.ts';
import { ArbiterSilentError, beginTerm } from '../../../../src/colo/thread/begin-term.ts';
import { smallEtcd } from '../side/etcd-rig.ts';
import { until } from '../side/host-rig.ts';

interface Asked {
  readonly path: string | undefined;
  readonly body: string;
}

/** An etcd that knows no pair, and agrees to everything, or answers nothing; what it was asked. */
async function etcd(t: Test, answers = true) {
  const asked: Asked[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    asked.push({ path: request.url, body });
    if (answers) response.end(JSON.stringify(request.url?.endsWith('/txn') ? { succeeded: true } : {}));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { asked, server, endpoints: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] };
}

function configOf(stateDirectory: string, endpoints: readonly string[]) {
  return {
    pair: 'web',
    settings: defaultSettings,
    security: { kind: 'plaintext' },
    arbiter: { kind: 'etcd', etcd: { endpoints, prefix: '/' } },
    stateDirectory,
  } as const;
}

test('a term that cannot be written is not begun: the arbiter would hold it against this side for good', async (t) => {
  const { asked, endpoints } = await etcd(t);
  const stateDirectory = t.testdir();
  const config = configOf(stateDirectory, endpoints);
  const inTheWay = join(stateDirectory, 'term.json.new');
  mkdirSync(inTheWay);
  await t.rejects(beginTerm(config, 'us'), { message: /^--state: the term cannot be written to .*term\.json: / });
  t.strictSame(asked, []);
  rmdirSync(inTheWay);
  await beginTerm(config, 'us');
  t.match(
    asked.map(({ path }) => path),
    [/\/range$/, /\/txn$/],
  );
  t.strictSame(JSON.parse(readFileSync(join(stateDirectory, 'term.json'), 'utf8')), { term: 1 });
});

test("no term is begun where the guest is the other side's, whatever the arbiter would say", async (t) => {
  const { asked, endpoints } = await etcd(t);
  const stateDirectory = t.testdir({ 'term.json': JSON.stringify({ term: 4, elsewhere: true }) });
  const config = configOf(stateDirectory, endpoints);
  await t.rejects(beginTerm(config, 'us'), {
    message:
      /^in term 4 the guest of the pair "web" is its other side's.*colo-vmm standby.*remove "elsewhere" from .*term\.json/,
  });
  t.strictSame(asked, []);
});

test('whoever is stopped while an arbiter does not answer waits no longer, and has begun nothing', async (t) => {
  const { server, endpoints } = await etcd(t, false);
  const stateDirectory = t.testdir();
  const config = configOf(stateDirectory, endpoints);
  const stopping = new AbortController();
  const begun = beginTerm(config, 'us', { stopping: stopping.signal });
  await once(server, 'request');
  stopping.abort(new Error('told to stop'));
  await t.rejects(begun, { message: 'told to stop' });
  t.strictSame(JSON.parse(readFileSync(join(stateDirectory, 'term.json'), 'utf8')), { term: 0, askers: ['us'] });
});

test('a term is not begun without an answer, in an error of its own: one may try again', async (t) => {
  const { endpoints } = await etcd(t);
  const stateDirectory = t.testdir();
  const error = await beginTerm(configOf(stateDirectory, ['http://127.0.0.1:9']), 'us').catch(
    (error: unknown) => error,
  );
  t.ok(error instanceof ArbiterSilentError, String(error));
  t.match(error, { exitCode: 6, message: /^--arbiter: .*without its answer/ });
  await beginTerm(configOf(stateDirectory, endpoints), 'us');
  t.strictSame(JSON.parse(readFileSync(join(stateDirectory, 'term.json'), 'utf8')), { term: 1 }, 'the term it was for');
});

test('a password or an authority that is wrong is bad input: the same command would hear the same for ever', async (t) => {
  const refuses = createServer((_request, response) =>
    response
      .writeHead(400)
      .end('{"message":"etcdserver: authentication failed, invalid user ID or password","code":3}'),
  );
  const authority = await makeAuthority('etcd', 2);
  const { certificate, key } = await signHost(authority, { pair: 'etcd', host: '127.0.0.1', days: 2 });
  const secure = createSecureServer({ cert: certificate, key }, (_request, response) => response.end('{}'));
  for (const server of [refuses, secure]) await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => {
    for (const server of [refuses, secure]) {
      server.closeAllConnections();
      server.close();
    }
  });
  const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;
  const stranger = await makeAuthority('other', 2);
  const rows = [
    [`http://127.0.0.1:${portOf(refuses)}`, { user: { name: 'vmm', password: 'guessed' } }, /authentication failed/],
    [`https://127.0.0.1:${portOf(secure)}`, { tls: { ca: stranger.certificate } }, /cacert= has to be the authority/],
  ] as const;
  for (const [endpoint, secrets, message] of rows) {
    const config = configOf(t.testdir(), [endpoint]);
    const etcd = { ...config.arbiter.etcd, ...secrets };
    const error = await beginTerm({ ...config, arbiter: { kind: 'etcd', etcd } }, 'us').catch(
      (error: unknown) => error,
    );
    t.notOk(error instanceof ArbiterSilentError, String(error));
    t.match(error, { code: 'CONFIG', message });
  }
});

const silent = { code: 'CONFIG', message: /without its answer nobody knows/ };

/** A host whose arbiter agrees, and the other host of its pair. */
async function hostOf(t: Test) {
  const small = await smallEtcd(t);
  const stateDirectory = t.testdir({ 'term.json': '{"term":1}' });
  const config = configOf(stateDirectory, [small.url]);
  const other = new ArbiterDesk('web', config.arbiter, 'the other side', () => {});
  t.teardown(() => other.close());
  await other.register(1);
  const known = (): unknown => JSON.parse(readFileSync(join(stateDirectory, 'term.json'), 'utf8'));
  return { small, config, other, known };
}

test('a start whose answer is lost is tried again, however often that is, and is no takeover', async (t) => {
  const { small, config, other, known } = await hostOf(t);
  small.answersWrites('never');
  await t.rejects(beginTerm(config, 'first'), silent);
  t.match(small.known(), { term: 2, holder: 'first' }, 'it was granted all the same');
  t.strictSame(known(), { term: 1, askers: ['first'] });
  await t.rejects(beginTerm(config, 'second'), silent);
  t.match(small.known(), { term: 3, holder: 'second' });
  small.answersWrites('at once');
  await beginTerm(config, 'third');
  t.match(small.known(), { term: 4, holder: 'third' });
  t.strictSame(known(), { term: 4 });
  t.equal(await other.claim(4, false, () => true), 'no');
});

test('whoever took over after a start that came to nothing has the guest', async (t) => {
  const { small, config, other, known } = await hostOf(t);
  small.isDown(true);
  await t.rejects(beginTerm(config, 'first'), silent);
  small.isDown(false);
  t.equal(await other.claim(2, false, () => true), 'yes');
  const takenOver = {
    code: 'CONFIG',
    message: /is in term 2, this machine was in term 1: the other side has taken over/,
  };
  await t.rejects(beginTerm(config, 'second'), takenOver);
  t.match(small.known(), { term: 2, holder: 'the other side' });
  t.strictSame(known(), { term: 1, askers: ['first', 'second'] });
});

test("a term that was begun is nobody's to pass over", async (t) => {
  const { small, config, known } = await hostOf(t);
  const copy = join(config.stateDirectory, 'copy');
  mkdirSync(copy);
  writeFileSync(join(copy, 'term.json'), '{"term":1}');
  await beginTerm(config, 'first');
  t.strictSame(known(), { term: 2 });
  // A host that knows less of the pair than this one.
  const behind = beginTerm({ ...config, stateDirectory: copy }, 'second');
  await t.rejects(behind, { message: /is in term 2, this machine was in term 1/ });
  t.match(small.known(), { term: 2, holder: 'first' });
});

test('a process that goes on in the old term is no start that came to nothing: its standby may have been told to go on', async (t) => {
  const { small, config, known } = await hostOf(t);
  small.answersWrites('never');
  await t.rejects(beginTerm(config, 'first', { goesOn: true }), silent);
  t.strictSame(known(), { term: 1 });
  small.answersWrites('at once');
  await t.rejects(beginTerm(config, 'second'), { message: /is in term 2, this machine was in term 1/ });
  await beginTerm(config, 'first', { goesOn: true });
  t.strictSame(known(), { term: 2 }, 'but what it was granted is its own');
});

test('a start that another one has taken for one that came to nothing does not begin when its answer comes', async (t) => {
  const { small, config, known } = await hostOf(t);
  small.answersWrites('later');
  const slow = beginTerm(config, 'first');
  slow.catch(() => {});
  await small.knows(2);
  const second = beginTerm(config, 'second');
  await small.knows(3);
  small.answersWrites('at once');
  await t.rejects(slow, { message: /^another process has begun to start the pair "web" with .*term\.json meanwhile$/ });
  await second;
  t.match(small.known(), { term: 3, holder: 'second' });
  t.strictSame(known(), { term: 3 });
});

test('a start that is heard while another one asks is not passed over', async (t) => {
  const { small, config, known } = await hostOf(t);
  small.answersWrites('never');
  await t.rejects(beginTerm(config, 'first'), silent);
  small.answersWrites('at once');
  const questions = small.holds();
  const second = beginTerm(config, 'second');
  second.catch(() => {});
  await until(() => questions.held() === 1);
  // As one does that was slow to write its term down.
  await new TermStore(config.stateDirectory).write(2);
  questions.letGo();
  await t.rejects(second, { message: /^another process has begun/ });
  t.match(small.known(), { term: 2, holder: 'first' });
  t.strictSame(known(), { term: 2 });
});
