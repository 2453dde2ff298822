import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { defaultSettings } from '../../../../src/colo/core/settings.ts';
import { makeAuthority, signHost } from '../../../../src/colo/keys/pair-authority.ts';
import { ArbiterSilentError, beginTerm } from '../../../../src/colo/thread/begin-term.ts';

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
  const begun = beginTerm(config, 'us', stopping.signal);
  await once(server, 'request');
  stopping.abort(new Error('told to stop'));
  await t.rejects(begun, { message: 'told to stop' });
  t.strictSame(JSON.parse(readFileSync(join(stateDirectory, 'term.json'), 'utf8')), { term: 0 });
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
