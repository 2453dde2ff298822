import { once } from 'node:events';
import { createServer as createWebServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import t, { type Test } from 'tap';
import { makeAuthority, signHost } from '../../../../../src/colo/keys/pair-authority.ts';
import {
  openConnection,
  PageClient,
  type Place,
  redisClient,
  shellClient,
  together,
} from '../../../../../tools/chaos/lab/service-clients.ts';
import { answered, service, so } from './service-rig.ts';

/** A service that answers each line by what `answer` makes of it. */
function lineService(t: Test, answer: (line: string, number: number, socket: Socket) => string): Promise<Place> {
  return service(t, (socket) => {
    let number = 0;
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n').filter((each) => each !== ''))
        socket.write(answer(line.trim(), ++number, socket));
    });
  });
}

t.test('increments that come one after another, and lines that come back, are right', async (t) => {
  const redis = redisClient(await lineService(t, (_, number) => `:${number}\r\n`));
  const lines = openConnection(await lineService(t, (line, number) => `${line} ${number}\n`));
  for (const client of [redis, lines]) {
    t.teardown(() => client.close());
    await answered(client, 5);
    t.same(client.violations, []);
  }
});

t.test('an increment that was done twice, or was forgotten, is told', async (t) => {
  for (const wrong of [4, 2]) {
    const place = await lineService(t, (_, number) => `:${number < 3 ? number : wrong}\r\n`);
    const redis = redisClient(place);
    t.teardown(() => redis.close());
    await answered(redis, 3);
    t.match(redis.violations, [new RegExp(`redis: request 3 was answered by ":${wrong}", not ":3"`)]);
  }
});

t.test('an answer that comes twice is told', async (t) => {
  const place = await lineService(t, (line, number) => `${line} ${number}\n`.repeat(number === 2 ? 2 : 1));
  const lines = openConnection(place);
  t.teardown(() => lines.close());
  await answered(lines, 2);
  await so(() => lines.violations.length > 0);
  t.match(lines.violations, [/connection: an answer to what nobody asked/]);
});

t.test('a connection that ends is told, unless its client ended it', async (t) => {
  const place = await lineService(t, (line, number, socket) => {
    if (number === 2) setImmediate(() => socket.end());
    return `${line} ${number}\n`;
  });
  const lines = openConnection(place);
  await answered(lines, 2);
  await so(() => lines.violations.length > 0);
  t.same(lines.violations, ['connection: the connection ended']);
  lines.close();
});

t.test('an answer of a shell is told from what was typed, and from its prompt', async (t) => {
  const counts = ['=1=', '=2=', '=1='];
  const shell = shellClient(await lineService(t, (line) => `${line}\r\n${counts.shift()}\r\n/ # `));
  t.teardown(() => shell.close());
  await answered(shell, 2);
  t.same(shell.violations, []);
  await answered(shell, 3);
  t.match(shell.violations, [/shell: request 3 was answered by "=1=", not "=3="/], 'it is another shell');
});

t.test('clients of one service at once are asked together, and wait until all are answered', async (t) => {
  const answers: string[] = [];
  const place = await lineService(t, (_, number, socket) => {
    if (number > 1) setImmediate(() => socket.end());
    answers.push(`${number}`);
    return number > 1 ? ':3\n' : ':1\n';
  });
  const both = together([redisClient(place), redisClient(place, 'other')]);
  t.teardown(() => both.close());
  await answered(both, 2);
  t.equal(both.name, 'redis');
  t.same(answers, ['1', '1']);
  both.ask();
  t.ok(both.isWaiting);
  await so(() => both.violations.length === 4);
  t.match(both.violations, [/not ":2"/, /the connection ended/, /not ":2"/, /the connection ended/]);
});

async function pageService(
  t: Test,
  answer: (request: number) => string,
): Promise<Place & { connections: () => number }> {
  let [requests, connections] = [0, 0];
  const server = createWebServer((_, response) => response.end(answer(++requests)));
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port, connections: () => connections };
}

t.test('a page is asked for over a new connection each time, or over one that is kept', async (t) => {
  for (const isKept of [false, true]) {
    const place = await pageService(t, () => 'whole');
    const client = new PageClient(place, { name: 'page', page: 'whole', isKept });
    t.teardown(() => client.close());
    await answered(client, 3);
    t.same(client.violations, []);
    t.equal(place.connections(), isKept ? 1 : 3);
  }
});

t.test('a connection that was to be kept and ended is told', async (t) => {
  const server = createWebServer((_, response) => response.setHeader('connection', 'close').end('whole'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const place = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const client = new PageClient(place, { name: 'kept page', page: 'whole', isKept: true });
  t.teardown(() => client.close());
  await answered(client, 2);
  t.same(client.violations, ['kept page: the connection ended']);
});

t.test('over TLS, the guest must be who its authority says', async (t) => {
  const authority = await makeAuthority('chaos', 1);
  const { key, certificate } = await signHost(authority, { pair: 'chaos', host: 'guest.test', days: 1 });
  const server = createTlsServer({ key, cert: certificate }, (_, response) => response.end('whole'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const place = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const ask = async (servername: string): Promise<readonly string[]> => {
    const tls = { ca: authority.certificate, servername };
    const client = new PageClient(place, { name: 'TLS page', page: 'whole', tls });
    t.teardown(() => client.close());
    client.ask();
    await so(() => !client.isWaiting);
    return client.violations;
  };
  t.same(await ask('guest.test'), []);
  t.match(await ask('other.test'), [/TLS page: .*other\.test/]);
});

t.test('a page must be the whole page, and a connection that is refused is told', async (t) => {
  const pages = ['whole', 'whole', 'who'];
  const server = createWebServer((_, response) => response.end(pages.shift()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new PageClient({ host: '127.0.0.1', port }, { name: 'page', page: 'whole' });
  await answered(client, 2);
  t.same(client.violations, []);
  await answered(client, 3);
  t.match(client.violations, [/page: status 200 and 3 characters, not the page of 5/]);
  server.close();
  await once(server, 'close');
  client.ask();
  await so(() => client.violations.length === 2);
  t.match(client.violations[1], /ECONNREFUSED/);
  client.close();
});
