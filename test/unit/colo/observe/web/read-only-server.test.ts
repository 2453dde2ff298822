import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type Test, test } from 'tap';
import {
  type Page,
  ReadOnlyServer,
  type Route,
  type WebLimits,
} from '../../../../../src/colo/observe/web/read-only-server.ts';
import { until } from '../../side/host-rig.ts';

/** None of them is reached by chance. */
const patient: WebLimits = { connections: 4, requestMs: 60_000, answerMs: 60_000, idleMs: 60_000 };

const hello: Page = { type: 'text/plain', body: 'hällo' };

async function serve(t: Test, limits: Partial<WebLimits> = {}, routes: Readonly<Record<string, Route>> = {}) {
  const all = new Map<string, Route>([['/hello', () => hello], ...Object.entries(routes)]);
  const server = await ReadOnlyServer.listen({ host: '127.0.0.1', port: 0 }, all, { ...patient, ...limits });
  t.teardown(() => server.close());
  return server;
}

/** What is answered to a request, whole. */
function ask(
  { port }: ReadOnlyServer,
  path: string,
  {
    method = 'GET',
    headers = {},
  }: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<{ readonly status: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      response.once('error', reject);
    });
    asked.once('error', reject).end();
  });
}

/** A client that says what it likes; `isClosed` once it was let go. */
async function stranger(t: Test, { port }: ReadOnlyServer) {
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  const seen = { socket, said: '', isClosed: false };
  socket.on('error', () => {});
  socket.setEncoding('latin1').on('data', (text: string) => {
    seen.said += text;
  });
  socket.once('close', () => {
    seen.isClosed = true;
  });
  await once(socket, 'connect');
  return seen;
}

test('a page is given, and nobody keeps it, guesses what it is, or has it in a page of another origin', async (t) => {
  const { status, headers, body } = await ask(await serve(t), '/hello?any=thing');
  t.equal(status, 200);
  t.equal(body, 'hällo');
  t.match(headers, {
    'content-type': 'text/plain',
    'content-length': '6',
    'cache-control': 'no-store',
    'cross-origin-resource-policy': 'same-origin',
    'x-content-type-options': 'nosniff',
  });
  t.strictSame(
    Object.keys(headers).filter((name) => name.startsWith('access-control')),
    [],
  );
});

test('HEAD is told of a page without it', async (t) => {
  const { status, headers, body } = await ask(await serve(t), '/hello', { method: 'HEAD' });
  t.match({ status, length: headers['content-length'], body }, { status: 200, length: '6', body: '' });
});

for (const [what, path, options, wanted] of [
  ['a path that is none', '/nothing', {}, 404],
  ['the address of another server', 'http://evil.example/hello', {}, 404],
  ['POST', '/hello', { method: 'POST' }, 405],
  ['DELETE', '/hello', { method: 'DELETE' }, 405],
  ['what a browser asks before it changes something', '/hello', { method: 'OPTIONS' }, 405],
  ['a question with a body', '/hello', { headers: { 'Content-Length': '5' } }, 413],
  ['one with a body of unknown length', '/hello', { headers: { 'Transfer-Encoding': 'chunked' } }, 413],
  ['a name of somebody else that leads here', '/hello', { headers: { Host: 'evil.example:9100' } }, 421],
  ['a name that begins like ours', '/hello', { headers: { Host: '127.0.0.1.evil.example' } }, 421],
  ["another host's address", '/hello', { headers: { Host: '10.0.0.1' } }, 421],
] as const) {
  test(`${what} is refused with ${wanted}, and the page is not made`, async (t) => {
    let made = 0;
    const server = await serve(t, {}, { '/hello': () => ({ ...hello, body: String(++made) }) });
    const { status, headers } = await ask(server, path, options);
    t.equal(status, wanted);
    t.equal(headers.connection, 'close');
    t.equal(made, 0);
  });
}

for (const host of ['localhost', 'LOCALHOST:1', '127.0.0.1:9100', '127.3.2.1', '[::1]:9100']) {
  test(`${host} is this host`, async (t) => {
    t.equal((await ask(await serve(t), '/hello', { headers: { Host: host } })).status, 200);
  });
}

test('whoever serves more than its own host cannot know all its names', async (t) => {
  const routes = new Map<string, Route>([['/hello', () => hello]]);
  const server = await ReadOnlyServer.listen({ host: '0.0.0.0', port: 0 }, routes, patient);
  t.teardown(() => server.close());
  t.equal((await ask(server, '/hello', { headers: { Host: 'a.example:9100' } })).status, 200);
});

test('a page that cannot be made is said to be so, and the next one is made', async (t) => {
  const fail = (): Page => {
    throw new Error('no figures');
  };
  const server = await serve(t, {}, { '/fail': fail });
  const { status, body } = await ask(server, '/fail');
  t.match({ status, body }, { status: 500, body: /no figures/ });
  t.equal((await ask(server, '/hello')).status, 200);
});

test('of many connections that say nothing the oldest go, and who asks is answered', async (t) => {
  const server = await serve(t);
  const silent: Awaited<ReturnType<typeof stranger>>[] = [];
  for (let count = 0; count < 20; count++) silent.push(await stranger(t, server));
  await until(() => silent.filter(({ isClosed }) => isClosed).length >= 16);
  t.equal((await ask(server, '/hello')).status, 200);
  t.equal(silent.filter(({ isClosed }) => !isClosed).length <= 4, true);
});

test('whoever asks now and then stays while silent ones come and go', async (t) => {
  const server = await serve(t);
  const asking = await stranger(t, server);
  for (let count = 1; count <= 12; count++) {
    asking.socket.write('GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(() => asking.said.split('HTTP/1.1 200').length > count);
    await stranger(t, server);
  }
  t.notOk(asking.isClosed);
});

for (const [what, said] of [
  ['says nothing', ''],
  ['never ends its request', 'GET /hello HTTP/1.1\r\nHost: localhost\r\n'],
] as const) {
  test(`whoever ${what} is let go`, async (t) => {
    const server = await serve(t, { requestMs: 50 });
    const client = await stranger(t, server);
    client.socket.write(said);
    await until(() => client.isClosed);
    t.notMatch(client.said, 'hällo');
  });
}

test('a header without end is refused', async (t) => {
  const client = await stranger(t, await serve(t));
  const flood = (socket: Socket): void => {
    while (!socket.destroyed && socket.write(`X-${'x'.repeat(1000)}: 1\r\n`));
    socket.once('drain', () => flood(socket));
  };
  client.socket.write('GET /hello HTTP/1.1\r\nHost: localhost\r\n');
  flood(client.socket);
  await until(() => client.isClosed);
  t.notMatch(client.said, 'HTTP/1.1 200');
});

test('of requests that come at once on a connection no answers pile up: it ends', async (t) => {
  let made = 0;
  const slow: Route = () =>
    new Promise((resolve) => {
      made++;
      setImmediate(() => resolve(hello));
    });
  const client = await stranger(t, await serve(t, {}, { '/slow': slow }));
  client.socket.write('GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(1000));
  await until(() => client.isClosed);
  t.equal(made, 1);
});

test('whoever does not take its answer is let go', async (t) => {
  const large: Route = () => ({ ...hello, body: Buffer.alloc(64 << 20) });
  const server = await serve(t, { answerMs: 50 }, { '/large': large });
  const { socket } = await stranger(t, server);
  socket.pause();
  socket.write('GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until(() => server.connections === 0);
  t.ok(socket.bytesRead < 64 << 20);
});

test('an end lets everybody go at once, and the port', async (t) => {
  const never: Route = () => new Promise(() => {});
  const server = await serve(t, {}, { '/never': never });
  const { port } = server;
  const client = await stranger(t, server);
  client.socket.write('GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const silent = await stranger(t, server);
  server.close();
  await until(() => client.isClosed && silent.isClosed);
  await t.rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' });
});
