import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { type Test, test } from 'tap';
import { ArbiterError } from '../../../../src/colo/arbiter/arbiter.ts';
import { EtcdArbiter, type EtcdArbiterOptions } from '../../../../src/colo/arbiter/etcd-arbiter.ts';
import { makeAuthority, signHost } from '../../../../src/colo/keys/pair-authority.ts';
import { Etcd, noEtcd } from '../../../support/etcd.ts';

const skip = noEtcd();
const pair = 'web';

function arbiterOf(t: Test, endpoints: readonly string[], more: Partial<EtcdArbiterOptions> = {}): EtcdArbiter {
  const arbiter = new EtcdArbiter({ endpoints, prefix: '/colo-vmm/', patienceMs: 5000, ...more });
  t.teardown(() => arbiter.close());
  return arbiter;
}

async function startEtcd(t: Test): Promise<Etcd> {
  const etcd = await Etcd.start();
  t.teardown(() => etcd.close());
  return etcd;
}

/** An HTTP server that answers everything as `listener` does; its URL. */
async function httpServer(t: Test, listener: RequestListener): Promise<string> {
  return urlOf(t, createHttpServer(listener));
}

async function urlOf(t: Test, server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}

test('of a real etcd', { skip }, async (t) => {
  const etcd = await startEtcd(t);
  const a = arbiterOf(t, [etcd.url]);
  const b = arbiterOf(t, [etcd.url]);

  await t.test('one of two sides gets the next term, and the other one hears who has it', async (t) => {
    t.strictSame(await a.register({ pair, term: 1, holder: 'A' }), { kind: 'granted' });
    const claims = await Promise.all([
      a.claim({ pair, term: 2, holder: 'A' }),
      b.claim({ pair, term: 2, holder: 'B' }),
    ]);
    const granted = claims.findIndex((verdict) => verdict?.kind === 'granted');
    const winner = granted === 0 ? 'A' : 'B';
    t.strictSame(claims[1 - granted], { kind: 'refused', term: 2, holder: winner });
  });

  await t.test('the holder of a term is granted it again, for the first answer may have been lost', async (t) => {
    await a.register({ pair: 'again', term: 1, holder: 'A' });
    await b.claim({ pair: 'again', term: 2, holder: 'B' });
    t.strictSame(await b.claim({ pair: 'again', term: 2, holder: 'B' }), { kind: 'granted' });
    t.strictSame(await a.claim({ pair: 'again', term: 2, holder: 'A' }), { kind: 'refused', term: 2, holder: 'B' });
  });

  await t.test('a claim of an earlier term is refused, and so is its registration', async (t) => {
    await a.register({ pair: 'late', term: 5, holder: 'A' });
    t.strictSame(await b.claim({ pair: 'late', term: 3, holder: 'B' }), { kind: 'refused', term: 5, holder: 'A' });
    t.strictSame(await b.register({ pair: 'late', term: 4, holder: 'B' }), { kind: 'refused', term: 5, holder: 'A' });
  });

  await t.test('a claim that leaves a term out is not answered: data may have been restored', async (t) => {
    await a.register({ pair: 'gap', term: 1, holder: 'A' });
    await t.rejects(b.claim({ pair: 'gap', term: 3, holder: 'B' }), {
      code: 'ARBITER',
      message: /knows it in term 1, though it was paired in term 2/,
    });
  });

  await t.test('pairs of other names and prefixes know nothing of each other', async (t) => {
    const other = arbiterOf(t, [etcd.url], { prefix: '/elsewhere/' });
    await a.register({ pair: 'same', term: 1, holder: 'A' });
    await other.register({ pair: 'same', term: 1, holder: 'B' });
    t.strictSame(await a.claim({ pair: 'same', term: 2, holder: 'A' }), { kind: 'granted' });
    t.strictSame(await other.claim({ pair: 'same', term: 2, holder: 'B' }), { kind: 'granted' });
  });

  await t.test('nobody is told yes by an etcd that lost its data', async (t) => {
    await a.register({ pair: 'lost', term: 1, holder: 'A' });
    await etcd.wipe();
    await t.rejects(b.claim({ pair: 'lost', term: 2, holder: 'B' }), {
      message: /does not know this pair.*were its data lost.*failover --i-am-sure/,
    });
  });

  await t.test('a key that somebody else wrote is named, with the remedy', async (t) => {
    const key = Buffer.from('/colo-vmm/foreign/term').toString('base64');
    for (const text of ['not JSON', '{"term":-1,"holder":"x"}', '[]']) {
      const body = JSON.stringify({ key, value: Buffer.from(text).toString('base64') });
      await fetch(`${etcd.url}/v3/kv/put`, { method: 'POST', body });
      await t.rejects(a.check('foreign'), { message: /\/colo-vmm\/foreign\/term holds something else.*prefix=/ });
    }
  });

  await t.test('checking it tells how long it takes, and changes nothing', async (t) => {
    t.equal(await a.check('unheard-of'), undefined);
    t.strictSame(await a.register({ pair: 'unheard-of', term: 1, holder: 'A' }), { kind: 'granted' });
  });
});

test('what was granted outlives a crash of etcd', { skip }, async (t) => {
  const etcd = await startEtcd(t);
  const arbiter = arbiterOf(t, [etcd.url]);
  await arbiter.register({ pair, term: 1, holder: 'A' });
  await arbiter.claim({ pair, term: 2, holder: 'B' });
  await etcd.kill();
  await t.rejects(arbiter.claim({ pair, term: 2, holder: 'A' }), {
    code: 'ARBITER',
    message: /does not answer: http:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\)/,
  });
  await etcd.start();
  t.strictSame(await arbiter.claim({ pair, term: 2, holder: 'A' }), { kind: 'refused', term: 2, holder: 'B' });
});

test('an etcd that is frozen is an error in bounded time, and answers the same claim afterwards', {
  skip,
}, async (t) => {
  const etcd = await startEtcd(t);
  const arbiter = arbiterOf(t, [etcd.url], { patienceMs: 300 });
  await arbiter.register({ pair, term: 1, holder: 'A' });
  etcd.freeze();
  await t.rejects(arbiter.claim({ pair, term: 2, holder: 'A' }), { message: /did not answer within 300 ms/ });
  etcd.thaw();
  const patient = arbiterOf(t, [etcd.url]);
  t.strictSame(await patient.claim({ pair, term: 2, holder: 'A' }), { kind: 'granted' });
});

test('an etcd with users is asked as one of them, also after it forgot the token', { skip }, async (t) => {
  const etcd = await startEtcd(t);
  await etcd.demandPassword('secret');
  const user = { name: 'root', password: 'secret' };
  const arbiter = arbiterOf(t, [etcd.url], { user });
  t.strictSame(await arbiter.register({ pair, term: 1, holder: 'A' }), { kind: 'granted' });
  await etcd.kill();
  await etcd.start();
  t.strictSame(await arbiter.claim({ pair, term: 2, holder: 'A' }), { kind: 'granted' });

  await t.rejects(arbiterOf(t, [etcd.url]).check(pair), { message: /answered 400: "etcdserver: user name is empty"/ });
  const wrong = arbiterOf(t, [etcd.url], { user: { ...user, password: 'guessed' } });
  await t.rejects(wrong.check(pair), { message: /authentication failed/ });
});

for (const code of [3, 2]) {
  test(`a token that a change of etcd's users has outdated, told with code ${code}, is renewed`, async (t) => {
    let tokens = 0;
    const url = await httpServer(t, (request, response) => {
      if (request.url === '/v3/auth/authenticate') response.end(JSON.stringify({ token: `token-${++tokens}` }));
      else if (request.headers.authorization === 'token-2') response.end('{}');
      else {
        const message = 'etcdserver: revision of auth store is old';
        response.writeHead(code === 3 ? 400 : 500).end(JSON.stringify({ error: message, message, code }));
      }
    });
    const arbiter = arbiterOf(t, [url], { user: { name: 'vmm', password: 'secret' } });
    t.equal(await arbiter.check(pair), undefined);
    t.equal(tokens, 2);
  });
}

test('an etcd that was restarted is asked over a new connection at once', { skip }, async (t) => {
  const etcd = await startEtcd(t);
  const arbiter = arbiterOf(t, [etcd.url]);
  await arbiter.register({ pair, term: 1, holder: 'A' });
  await etcd.kill();
  await etcd.start();
  t.strictSame(await arbiter.claim({ pair, term: 2, holder: 'A' }), { kind: 'granted' });
});

test('a member that does not answer is followed by the next one', { skip }, async (t) => {
  const etcd = await startEtcd(t);
  const dead = await httpServer(t, (_request, response) => response.writeHead(500).end('{"error":"no leader"}'));
  const arbiter = arbiterOf(t, [dead, etcd.url]);
  t.strictSame(await arbiter.register({ pair, term: 1, holder: 'A' }), { kind: 'granted' });
});

test('a change that was made, but whose answer was lost, is granted', { skip }, async (t) => {
  const etcd = await startEtcd(t);
  // Hands everything on, and cuts the connection in place of the answer to a change, twice: a connection that was
  // open already is not believed the first time.
  let cuts = 2;
  const proxy = await httpServer(t, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const answer = await fetch(etcd.url + request.url, { method: 'POST', body: Buffer.concat(chunks) });
    const text = await answer.text();
    if (request.url === '/v3/kv/txn' && cuts-- > 0) {
      request.socket.destroy();
    } else response.end(text);
  });
  const arbiter = arbiterOf(t, [proxy]);
  await arbiterOf(t, [etcd.url]).register({ pair, term: 1, holder: 'A' });
  await t.rejects(arbiter.claim({ pair, term: 2, holder: 'B' }), {
    message: /cannot be reached|closed the connection/,
  });
  t.strictSame(await arbiter.claim({ pair, term: 2, holder: 'B' }), { kind: 'granted' });
});

test('of something that is no etcd', async (t) => {
  const answers: readonly (readonly [string, RequestListener, RegExp])[] = [
    [
      'answers 500',
      (_request, response) => response.writeHead(500).end('{"message":"etcdserver: no leader","code":14}'),
      /answered 500: "etcdserver: no leader"/,
    ],
    [
      'is a web page',
      (_request, response) => response.end('<html>\u001b[31m hello'),
      /answered 200 and "<html> \[31m hello", which is not JSON/,
    ],
    ['answers a list', (_request, response) => response.end('[]'), /answered 200: "\[\]"/],
    [
      'sends without end',
      (_request, response) => {
        response.writeHead(200);
        const more = (): void => {
          while (!response.destroyed && response.write('x'.repeat(16_384)));
          if (!response.destroyed) response.once('drain', more);
        };
        more();
      },
      /sent more than 65536 bytes/,
    ],
    ['hangs up', (request) => request.socket.destroy(), /cannot be reached \(ECONNRESET\)|closed the connection/],
    [
      'breaks off',
      (request, response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('{"kvs"');
        setTimeout(() => request.socket.destroy(), 20);
      },
      /broke off its answer|closed the connection|cannot be reached/,
    ],
    [
      'gives values of other types',
      (_request, response) => response.end('{"kvs":[{"value":7,"mod_revision":{}}]}'),
      /is it etcd 3\.4 or newer/,
    ],
  ];
  for (const [what, listener, message] of answers) {
    await t.test(what, async (t) => {
      const arbiter = arbiterOf(t, [await httpServer(t, listener)]);
      await t.rejects(arbiter.claim({ pair, term: 2, holder: 'A' }), { code: 'ARBITER', message });
    });
  }

  await t.test('sends a byte now and then: the whole exchange has a limit', async (t) => {
    const url = await httpServer(t, (_request, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(timer));
    });
    const arbiter = arbiterOf(t, [url], { patienceMs: 200 });
    await t.rejects(arbiter.check(pair), { message: /did not answer within 200 ms/ });
  });

  await t.test('takes connections and is silent: closing fails what is under way', async (t) => {
    const arbiter = arbiterOf(t, [await urlOf(t, createTcpServer())], { patienceMs: 60_000 });
    const asked = t.rejects(arbiter.check(pair), new ArbiterError('the arbiter was closed'));
    setTimeout(() => arbiter.close(), 50);
    await asked;
  });
});

test('an etcd behind TLS that cannot be used is told with the remedy', async (t) => {
  const authority = await makeAuthority('etcd', 2);
  const stranger = await makeAuthority('other', 2);
  const [own, elsewhere, old, client] = await Promise.all([
    signHost(authority, { pair: 'etcd', host: '127.0.0.1', days: 2 }),
    signHost(authority, { pair: 'etcd', host: 'c.example', days: 2 }),
    signHost(authority, { pair: 'etcd', host: '127.0.0.1', days: -0.5 }),
    signHost(authority, { pair: 'etcd', host: 'a.example', days: 2 }),
  ]);
  const secure = async (shown: typeof own, requestCert = false): Promise<string> => {
    const server = createHttpsServer(
      { cert: shown.certificate, key: shown.key, ca: authority.certificate, requestCert, rejectUnauthorized: true },
      (_request, response) => response.end('{}'),
    );
    return (await urlOf(t, server)).replace('http:', 'https:');
  };
  const plain = await httpServer(t, (_request, response) => response.end('{}'));
  const ca = authority.certificate;
  const good = await secure(own);
  const asks = await secure(own, true);

  t.equal(await arbiterOf(t, [good], { tls: { ca } }).check(pair), undefined);
  const tls = { ca, cert: client.certificate, key: client.key };
  t.equal(await arbiterOf(t, [asks], { tls }).check(pair), undefined);

  const wrong: readonly (readonly [string, EtcdArbiterOptions['tls'], RegExp, boolean])[] = [
    [good, { ca: stranger.certificate }, /cacert= has to be the authority that signed its certificate/, true],
    [good, undefined, /cacert= has to be the authority that signed its certificate/, true],
    [await secure(elsewhere), { ca }, /its certificate is not for the name in this URL/, true],
    [await secure(old), { ca }, /its certificate has expired/, false],
    [plain.replace('http:', 'https:'), { ca }, /does it speak http rather than https/, false],
    [good.replace('https:', 'http:'), undefined, /does it speak https rather than http/, false],
  ];
  for (const [url, tls, message, isMisconfigured] of wrong) {
    const arbiter = arbiterOf(t, [url], tls === undefined ? {} : { tls });
    await t.rejects(arbiter.check(pair), { code: 'ARBITER', message, isMisconfigured });
  }
  // The alert comes after the handshake, and may be lost with the connection.
  await t.rejects(arbiterOf(t, [asks], { tls: { ca } }).check(pair), {
    message: /ALERT_CERTIFICATE_REQUIRED\): it does not accept this side's certificate|ECONNRESET|without an answer/,
  });

  const half = arbiterOf(t, [good, 'https://127.0.0.1:9'], { tls: { ca: stranger.certificate } });
  await t.rejects(half.check(pair), { code: 'ARBITER', isMisconfigured: false });
});
