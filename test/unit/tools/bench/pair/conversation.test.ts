import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type Test, test } from 'tap';
import { Conversation, httpEnd, redisEnd } from '../../../../../tools/bench/pair/conversation.ts';
import { openAsker, type ServicePlaces } from '../../../../../tools/bench/pair/service-askers.ts';

/** A server that answers each piece of a request as told. */
async function server(t: Test, answer: (request: string, socket: Socket) => void): Promise<number> {
  const listening: Server = createServer((socket) => {
    socket.on('error', () => {});
    socket.setEncoding('latin1').on('data', (text: string) => answer(text, socket));
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  t.teardown(() => listening.close());
  return (listening.address() as AddressInfo).port;
}

function places(port: number): ServicePlaces {
  return { address: '127.0.0.1', ports: { web: port, redis: port }, page: 'a page' };
}

test('an answer of HTTP ends with its body, however it is cut', async (t) => {
  const whole = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na page';
  for (let cut = 0; cut < whole.length; cut++) t.equal(httpEnd(whole.slice(0, cut)), -1);
  t.equal(httpEnd(`${whole}HTTP`), whole.length);
  t.equal(httpEnd('HTTP/1.1 204 No Content\r\n\r\n'), 27);
});

test('an answer of redis ends with its last string, however it is cut', async (t) => {
  for (const whole of [
    '+OK\r\n',
    ':12\r\n',
    '$5\r\na\r\nbc\r\n',
    '$-1\r\n',
    '*-1\r\n',
    '*0\r\n',
    '*2\r\n$2\r\n17\r\n*1\r\n:4\r\n',
  ]) {
    for (let cut = 0; cut < whole.length; cut++) t.equal(redisEnd(whole.slice(0, cut)), -1, JSON.stringify(whole));
    t.equal(redisEnd(`${whole}+`), whole.length, JSON.stringify(whole));
  }
});

test('what is answered in pieces is one answer, and the next request has the next one', async (t) => {
  const port = await server(t, (request, socket) => {
    socket.write('$4\r\n');
    setImmediate(() => socket.write(`${request}\r\n`));
  });
  const talk = await Conversation.open('127.0.0.1', port);
  t.teardown(() => talk.close());
  t.equal(await talk.ask('ping', redisEnd), '$4\r\nping\r\n');
  t.equal(await talk.ask('pong', redisEnd), '$4\r\npong\r\n');
});

test('a connection that ends before the answer, or that nobody takes, is an error', async (t) => {
  const port = await server(t, (_, socket) => socket.end('+O'));
  const talk = await Conversation.open('127.0.0.1', port);
  await t.rejects(talk.ask('ping', redisEnd), { message: 'the connection ended' });
  await t.rejects(talk.ask('ping', redisEnd), { message: 'the connection ended' });
  const none = createServer().listen(0, '127.0.0.1');
  await once(none, 'listening');
  const { port: free } = none.address() as AddressInfo;
  none.close();
  await t.rejects(Conversation.open('127.0.0.1', free), { code: 'ECONNREFUSED' });
});

test('an answer that nobody asked for is an error', async (t) => {
  const port = await server(t, (_, socket) => socket.write('+OK\r\n+OK\r\n'));
  const talk = await Conversation.open('127.0.0.1', port);
  t.teardown(() => talk.close());
  t.equal(await talk.ask('ping', redisEnd), '+OK\r\n');
  await t.rejects(talk.ask('ping', redisEnd), { message: /nobody asked/ });
});

test('who asks for the page wants that page', async (t) => {
  let body = 'a page';
  const port = await server(t, (_, socket) =>
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
  );
  for (const service of ['page, keep-alive', 'page, a connection each'] as const) {
    body = 'a page';
    const asker = await openAsker(service, places(port), 0);
    await asker.ask();
    await asker.ask();
    body = 'a pagx';
    await t.rejects(asker.ask(), { message: /^GET \/ was answered by/ });
    asker.close();
  }
});

test('who sets a key reads it again', async (t) => {
  const keys = new Map<string, string>();
  let isForgetful = false;
  const port = await server(t, (request, socket) => {
    const [, , command = '', , key = '', , value = ''] = request.split('\r\n');
    if (command === 'SET') keys.set(key, value);
    const found = isForgetful ? '' : (keys.get(key) ?? '');
    socket.write(command === 'GET' ? `$${found.length}\r\n${found}\r\n` : '+OK\r\n');
  });
  const asker = await openAsker('key-value', places(port), 3);
  t.teardown(() => asker.close());
  await asker.ask();
  await asker.ask();
  t.same([...keys], [['key-3', 'key-3-0']]);
  await asker.ask();
  isForgetful = true;
  await t.rejects(asker.ask(), { message: /^GET was answered by/ });
});
