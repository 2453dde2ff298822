import { once } from 'node:events';
import { createServer as createWebServer } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import {
  openConnection,
  PageClient,
  redisClient,
  type ServiceClient,
} from '../../../../../tools/chaos/lab/service-clients.ts';

/** A service that answers each line by what `answer` makes of it; the port. */
async function lineService(t: Test, answer: (line: string, number: number, socket: Socket) => string): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let number = 0;
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n').filter((each) => each !== ''))
        socket.write(answer(line.trim(), ++number, socket));
    });
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function so(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function answered(client: ServiceClient, count: number): Promise<void> {
  while (client.answers < count) {
    client.ask();
    await so(() => !client.isWaiting);
  }
}

t.test('increments that come one after another, and lines that come back, are right', async (t) => {
  const redis = redisClient('127.0.0.1', await lineService(t, (_, number) => `:${number}\r\n`));
  const lines = openConnection('127.0.0.1', await lineService(t, (line, number) => `${line} ${number}\n`));
  for (const client of [redis, lines]) {
    t.teardown(() => client.close());
    await answered(client, 5);
    t.same(client.violations, []);
  }
});

t.test('an increment that was done twice, or was forgotten, is told', async (t) => {
  for (const wrong of [4, 2]) {
    const port = await lineService(t, (_, number) => `:${number < 3 ? number : wrong}\r\n`);
    const redis = redisClient('127.0.0.1', port);
    t.teardown(() => redis.close());
    await answered(redis, 3);
    t.match(redis.violations, [new RegExp(`redis: request 3 was answered by ":${wrong}", not ":3"`)]);
  }
});

t.test('an answer that comes twice is told', async (t) => {
  const port = await lineService(t, (line, number) => `${line} ${number}\n`.repeat(number === 2 ? 2 : 1));
  const lines = openConnection('127.0.0.1', port);
  t.teardown(() => lines.close());
  await answered(lines, 2);
  await so(() => lines.violations.length > 0);
  t.match(lines.violations, [/connection: an answer to what nobody asked/]);
});

t.test('a connection that ends is told, unless its client ended it', async (t) => {
  const port = await lineService(t, (line, number, socket) => {
    if (number === 2) setImmediate(() => socket.end());
    return `${line} ${number}\n`;
  });
  const lines = openConnection('127.0.0.1', port);
  await answered(lines, 2);
  await so(() => lines.violations.length > 0);
  t.same(lines.violations, ['connection: the connection ended']);
  lines.close();
});

t.test('a page must be the whole page, and a connection that is refused is told', async (t) => {
  const pages = ['whole', 'whole', 'who'];
  const server = createWebServer((_, response) => response.end(pages.shift()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new PageClient(`http://127.0.0.1:${port}/`, 'whole');
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
