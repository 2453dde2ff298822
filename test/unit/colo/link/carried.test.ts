import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'tap';
import { type LinkEnd, PeerLink } from '../../../../src/colo/link/peer-link.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import { head } from '../../../../src/colo/protocol/frame.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { type StreamName, streamOf, streams } from '../../../../src/colo/protocol/message-table.ts';
import type { Carried, Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../src/colo/protocol/numbers.ts';
import { randomNumbers } from '../../../support/random.ts';

/** One end of a connection: what is written to it lies there until it is delivered. */
class End extends Duplex {
  readonly written: Buffer[] = [];
  writes = 0;
  isRead = true;

  setNoDelay(): void {}
  override _read(): void {
    this.isRead = true;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(Buffer.from(chunk));
    this.writes++;
    done();
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: () => void): void {
    this.written.push(Buffer.concat(chunks.map(({ chunk }) => chunk)));
    this.writes++;
    done();
  }

  /** Brings up to so many of the bytes that were written to the other end. */
  deliverTo(other: End, bytes: number): void {
    const all = Buffer.concat(this.written.splice(0));
    if (all.length > bytes) this.written.push(all.subarray(bytes));
    if (all.length > 0) other.push(all.subarray(0, bytes));
  }
}

/** A primary's link and a standby's, between which only what the test delivers is delivered. */
function linked() {
  const ends = () => new Map<StreamName, End>(streams.map((name) => [name, new End()]));
  const mine = ends();
  const theirs = ends();
  const received: Message[] = [];
  const over: LinkEnd[] = [];
  const link = (sockets: Map<StreamName, End>, role: 'primary' | 'secondary'): PeerLink =>
    new PeerLink(sockets as unknown as Map<StreamName, Socket>, {
      role,
      peer: { host: 'peer', fingerprint: '' },
      secure: false,
    });
  const primary = link(mine, 'primary');
  const standby = link(theirs, 'secondary');
  primary.listen({ received: () => {}, drained: () => {}, ended: () => {} });
  standby.listen({
    received: ({ message }) =>
      received.push('data' in message ? { ...message, data: Uint8Array.from(message.data) } : message),
    drained: () => {},
    ended: (end) => over.push(end),
  });
  const end = (ends: Map<StreamName, End>, name: StreamName): End => ends.get(name) as End;
  const deliver = (name: StreamName, bytes = Number.POSITIVE_INFINITY): void =>
    end(mine, name).deliverTo(end(theirs, name), bytes);
  const send = (message: Message, canWait?: boolean): boolean =>
    primary.send({ role: 'primary', term: term(3), message }, canWait);
  const writes = (): Record<string, number> =>
    Object.fromEntries([...mine].map(([name, { writes: count }]) => [name, count]));
  /** As if a primary had sent it. */
  const forge = (message: Message, behind = 0): void => {
    const bytes = encodeFrame({ role: 'primary', term: term(3), message } satisfies Frame);
    new DataView(bytes.buffer).setUint16(head.behind, behind, true);
    end(theirs, streamOf(message.kind)).push(bytes);
  };
  return { send, deliver, received, over, writes, forge };
}

const turn = (): Promise<void> => new Promise(setImmediate);
const page = (number: number, bytes = 100): Message => ({
  kind: 'pages',
  epoch: epoch(number),
  data: new Uint8Array(bytes).fill(number),
});
const input = (number: number): Message => ({
  kind: 'input',
  epoch: epoch(number),
  card: 0,
  data: new Uint8Array(60).fill(number),
});
const request = (number: number): Message => ({ kind: 'checkpoint-request', epoch: epoch(number) });
/** Data is so many times the same byte. */
const inWords = (message: Message): string =>
  JSON.stringify({ ...message, ...('data' in message ? { data: [message.data.length, message.data[0]] } : {}) });
const batch = (message: Message): Pick<Carried, 'data'> => ({
  data: encodeFrame({ role: 'primary', term: term(3), message }),
});

test('a small checkpoint is one write', async (t) => {
  const { send, deliver, received, writes } = linked();
  const all: Message[] = [
    { kind: 'packets-end', epoch: epoch(1), items: 0 },
    { kind: 'disk-end', epoch: epoch(1), items: 0 },
    { kind: 'vmstate-send', epoch: epoch(1), comparing: 0 },
    page(1),
    { kind: 'pages-end', epoch: epoch(1), items: 1 },
    { kind: 'vmstate', epoch: epoch(1), data: new Uint8Array(10) },
    { kind: 'vmstate-size', epoch: epoch(1), value: 10 },
  ];
  for (const message of all) send(message);
  await turn();
  t.strictSame(writes(), { control: 1, pages: 0, disk: 0, packets: 0 });
  deliver('control');
  await turn();
  const kinds = (list: readonly Message[]) => list.map(({ kind }) => kind).sort();
  t.strictSame(kinds(received), kinds(all), 'and each frame of it comes');
});

test('what is much goes its own way', async (t) => {
  const { send, writes } = linked();
  send(page(1, 70_000));
  send(request(1));
  await turn();
  t.strictSame(writes(), { control: 1, pages: 1, disk: 0, packets: 0 });
});

test('what is carried waits for what its own stream has before it, and that for what was carried', async (t) => {
  const { send, deliver, received } = linked();
  send(input(1));
  await turn();
  send(input(2));
  send(request(1));
  await turn();
  send(input(3));
  await turn();
  deliver('control');
  await turn();
  t.strictSame(received, [request(1)], 'the second waits for the first');
  deliver('packets', 100);
  await turn();
  t.strictSame(received, [request(1), input(1), input(2)]);
  deliver('packets');
  await turn();
  t.strictSame(received, [request(1), input(1), input(2), input(3)]);
});

test('the other way round, what comes on its own waits for control', async (t) => {
  const { send, deliver, received } = linked();
  send(input(1));
  send(request(1));
  await turn();
  send(input(2));
  send(input(3));
  await turn();
  deliver('packets', 90);
  await turn();
  deliver('packets');
  await turn();
  t.strictSame(received, []);
  deliver('control');
  await turn();
  t.strictSame(received, [request(1), input(1), input(2), input(3)]);
});

test('each stream comes in its order, however connections are late', async (t) => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = randomNumbers(seed);
    const { send, deliver, received, over, writes } = linked();
    const sent: Message[] = [];
    for (let step = 0; step < 150; step++) {
      const number = step + 1;
      const message = [
        () => page(number, random(8) === 0 ? 50_000 : random(300)),
        () => input(number),
        (): Message => ({ kind: 'disk-end', epoch: epoch(number), items: number }),
        () => request(number),
      ][random(4)]?.() as Message;
      sent.push(message);
      send(message, random(2) === 0);
      if (random(3) === 0) await turn();
      if (random(3) === 0) deliver(streams[random(streams.length)] as StreamName, random(4) === 0 ? 1e9 : random(500));
    }
    send({ kind: 'heartbeat', clock: 1, echo: Number.NaN, laidBytes: 0 });
    await turn();
    for (const name of [...streams, ...streams]) {
      deliver(name);
      await turn();
    }
    t.strictSame(over, []);
    for (const name of streams) {
      const of = (list: readonly Message[]) =>
        list.filter(({ kind }) => kind !== 'heartbeat' && streamOf(kind) === name).map(inWords);
      t.strictSame(of(received), of(sent), `${name}, seed ${seed}`);
    }
    if (seed === 1) t.ok((writes().packets as number) > 0, 'some went their own way');
  }
});

test('a peer that carries nonsense is found out', async (t) => {
  const bad: [string, (forge: (message: Message, behind?: number) => void) => void | Promise<void>, RegExp][] = [
    ['a stream that there is not', (f) => f({ kind: 'carried', stream: 4, after: 0, ...batch(page(1)) }), /stream 4/],
    ['control itself', (f) => f({ kind: 'carried', stream: 0, after: 0, ...batch(request(1)) }), /stream 0/],
    [
      'a frame of another stream',
      (f) => f({ kind: 'carried', stream: 1, after: 0, ...batch(input(1)) }),
      /sent input on the pages stream/,
    ],
    [
      'half a frame',
      (f) => f({ kind: 'carried', stream: 1, after: 0, data: batch(page(1)).data.subarray(0, 50) }),
      /a frame of the pages stream is cut/,
    ],
    [
      'what came before',
      async (f) => {
        f(page(1));
        f(page(2));
        await turn();
        f({ kind: 'carried', stream: 1, after: 1, ...batch(page(1)) });
      },
      /behind 1: 2 came/,
    ],
    [
      'what goes before what it carried already',
      (f) => {
        f({ kind: 'carried', stream: 1, after: 9, ...batch(page(1)) });
        f({ kind: 'carried', stream: 1, after: 8, ...batch(page(1)) });
      },
      /behind 8: 0 came/,
    ],
    [
      'without end what has to wait',
      (f) => {
        for (let count = 0; count < 20; count++) f({ kind: 'carried', stream: 1, after: 9, ...batch(page(1, 60_000)) });
      },
      /behind 9: 0 came/,
    ],
    [
      'nothing, and says that it did not, any more',
      (f) => {
        f({ kind: 'carried', stream: 1, after: 0, ...batch(page(1)) });
        f(page(2), 0);
      },
      /behind 0 batches: 1 came/,
    ],
  ];
  for (const [what, act, found] of bad) {
    const { forge, over } = linked();
    await act(forge);
    for (let count = 0; count < 30; count++) await turn();
    t.match(over, [{ kind: 'failed', reason: found }], what);
    t.equal(over.length, 1);
  }
});

test('frames that wait for a batch that never comes are kept within bounds, and control goes on', async (t) => {
  const { forge, received, over } = linked();
  for (let count = 0; count < 50; count++) forge(page(count + 1, 60_000), 1);
  forge(request(1));
  for (let count = 0; count < 60; count++) await turn();
  t.strictSame(received, [request(1)]);
  t.strictSame(over, []);
});
