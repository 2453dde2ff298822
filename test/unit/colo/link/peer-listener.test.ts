import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Test, test } from 'tap';
import { dial } from '../../../../src/colo/link/dial.ts';
import { encodePreamble } from '../../../../src/colo/link/stream-preamble.ts';
import { turnAway } from '../../../../src/colo/link/turn-away.ts';
import { type StreamName, streams } from '../../../../src/colo/protocol/message-table.ts';
import { term } from '../../../../src/colo/protocol/numbers.ts';
import { dialing, Listening, pairOfKeys, plaintext, tls } from './link-rig.ts';

/** A connection of somebody who sends `bytes`, if anything. */
function stranger(t: Test, { listener }: Listening, bytes?: Uint8Array | string): Socket {
  const socket = connect(listener.port, '127.0.0.1');
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  if (bytes !== undefined) socket.write(bytes);
  return socket;
}

/** A port that leads to another one. What clients say but their first words is held up until all streams of a link have something. */
async function atOnce(t: Test, port: number): Promise<number> {
  let held: (() => void)[] = [];
  const server = createServer((client) => {
    const there = connect(port, '127.0.0.1');
    for (const socket of [client, there]) {
      socket.on('error', () => {}).setNoDelay(true);
      t.teardown(() => socket.destroy());
    }
    there.pipe(client);
    client.on('end', () => there.end());
    client.once('data', (hello) => {
      there.write(hello);
      // The end of the handshake, and the preamble that follows it soon.
      client.once('data', (end) => {
        const rest: Buffer[] = [end];
        client.on('data', (bytes) => rest.push(bytes));
        held.push(() => {
          client.removeAllListeners('data').on('data', (bytes) => there.write(bytes));
          there.write(Buffer.concat(rest));
        });
        if (held.length < streams.length) return;
        const all = held;
        held = [];
        setTimeout(() => {
          for (const release of all) release();
        }, 50);
      });
    });
  });
  server.listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

test('a stranger who says nothing is turned away in time, and so is a link that is never whole', async (t) => {
  const [, keys] = await pairOfKeys(t);
  for (const security of [plaintext, tls(keys)]) {
    const listening = await Listening.start(t, security, 200);
    await closed(stranger(t, listening));
    t.match(await listening.refusal(), /^127\.0\.0\.1 said nothing within 200 ms/, security.kind);
  }
  const listening = await Listening.start(t, plaintext, 200);
  await closed(stranger(t, listening, encodePreamble({ link: '00'.repeat(16), stream: 'control', role: 'primary' })));
  t.strictSame(listening.links, []);
});

test('garbage is turned away, and told of once a second at most', async (t) => {
  const [, keys] = await pairOfKeys(t);
  const garbage = ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', new Uint8Array(100), new Uint8Array(100_000).fill(0xff)];
  for (const security of [plaintext, tls(keys)]) {
    const listening = await Listening.start(t, security);
    for (const bytes of garbage) await closed(stranger(t, listening, bytes));
    t.equal(listening.refusals.length, 1, security.kind);
    t.strictSame(listening.links, []);
  }
});

test('a flood of strangers does not lock the peer out', async (t) => {
  const [a, b] = await pairOfKeys(t);
  const listening = await Listening.start(t, tls(b));
  const flood = Array.from({ length: 200 }, () => stranger(t, listening));
  await Promise.all(flood.map((socket) => (socket.connecting ? once(socket, 'connect') : undefined)));
  const link = await dialing(listening, tls(a));
  t.equal(link.peer.host, 'b.example');
  link.destroy();
});

test('a place in a link is given once, and to one host only', async (t) => {
  const listening = await Listening.start(t, plaintext, 2000);
  const preamble = (stream: StreamName) => encodePreamble({ link: '11'.repeat(16), stream, role: 'primary' });
  stranger(t, listening, preamble('control'));
  const second = stranger(t, listening, preamble('control'));
  await closed(second);
  t.match(await listening.refusal(), /claims a place in a link that is taken/);
  t.strictSame(listening.links, []);
});

test('a link that lost a connection before it was whole can still be completed', async (t) => {
  const listening = await Listening.start(t, plaintext);
  const preamble = (stream: StreamName) => encodePreamble({ link: '22'.repeat(16), stream, role: 'primary' });
  const first = stranger(t, listening, preamble('control'));
  await once(first, 'connect');
  first.destroy();
  await once(first, 'close');
  for (const stream of ['pages', 'disk', 'packets', 'control'] as const) stranger(t, listening, preamble(stream));
  t.ok(await listening.link());
});

test('closing turns away who is not part of a link, and leaves links alone', async (t) => {
  const listening = await Listening.start(t, plaintext);
  const waiting = stranger(t, listening);
  await once(waiting, 'connect');
  const link = await dialing(listening, plaintext);
  listening.listener.close();
  await closed(waiting);
  t.strictSame(listening.refusals, []);
  const peer = await listening.link();
  const ended = new Promise((resolve) => {
    peer.listen({ received: () => {}, drained: () => {}, ended: resolve });
  });
  link.destroy();
  t.strictSame(await ended, { kind: 'closed' });
});

test('who is turned away at once had an answer on every connection before', async (t) => {
  const [a, b] = await pairOfKeys(t);
  const listening = await Listening.start(t, tls(b));
  // All handshakes end in one turn: TLS hands over its own last words of one while another one makes the link whole.
  const port = await atOnce(t, listening.listener.port);
  for (let turn = 0; turn < 5; turn++) {
    const turnedAway = listening.link().then((link) => turnAway(link, 'secondary', term(3), 'there is one'));
    const link = await dial({ host: '127.0.0.1', port, security: tls(a), role: 'primary', patienceMs: 5000 });
    const said = new Promise((resolve) => {
      link.listen({ received: ({ message }) => resolve(message), drained: () => {}, ended: resolve });
    });
    t.match(await said, { kind: 'refusal', reason: 'there is one' });
    await turnedAway;
    link.destroy();
    listening.links.length = 0;
  }
});

test('an address that is taken is named', async (t) => {
  const { PeerListener } = await import('../../../../src/colo/link/peer-listener.ts');
  const { listener } = await Listening.start(t, plaintext);
  const { port } = listener;
  await t.rejects(
    PeerListener.start({
      host: '127.0.0.1',
      port,
      security: plaintext,
      role: 'secondary',
      patienceMs: 1000,
      linked: () => {},
      refused: () => {},
    }),
    { code: 'COLO_LINK', message: `127.0.0.1:${port} cannot be listened on: EADDRINUSE` },
  );
});
