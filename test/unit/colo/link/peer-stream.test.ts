import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'tap';
import { PeerStream } from '../../../../src/colo/link/peer-stream.ts';
import { FrameReader } from '../../../../src/colo/protocol/frame-reader.ts';
import type { StreamName } from '../../../../src/colo/protocol/message-table.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../src/colo/protocol/numbers.ts';

/** A socket that notes how many frames each write to the kernel was made of. */
class Wire extends Duplex {
  readonly writes: number[] = [];
  taken: () => void = () => {};

  setNoDelay(): void {}
  override _read(): void {}

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: () => void): void {
    let frames = 0;
    const reader = new FrameReader(this.stream, 'primary', () => frames++);
    for (const { chunk } of chunks) reader.push(chunk);
    this.writes.push(frames);
    this.taken = done;
    if (!this.isSlow) done();
  }

  stream: StreamName = 'control';

  isSlow = false;
}

function streamOn(name: StreamName) {
  const wire = new Wire();
  wire.stream = name;
  let drained = 0;
  const stream = new PeerStream(name, wire as unknown as Socket, 'secondary', {
    received: () => {},
    drained: () => {
      drained++;
    },
    ended: () => {},
  });
  const send = (message: Message, canWait?: boolean): boolean =>
    stream.send({ role: 'primary', term: term(1), message }, canWait);
  return { wire, stream, send, drained: () => drained };
}

const turn = (): Promise<void> => new Promise(setImmediate);
const page = (bytes: number): Message => ({ kind: 'pages', epoch: epoch(1), data: new Uint8Array(bytes) });
const request = (n: number): Message => ({ kind: 'checkpoint-request', epoch: epoch(n) });

test('what is sent within one turn is one write, also from what follows on it', async (t) => {
  const { wire, send } = streamOn('pages');
  t.ok(send(page(10)));
  await Promise.resolve();
  t.ok(send(page(20)));
  t.strictSame(wire.writes, []);
  await turn();
  t.strictSame(wire.writes, [2]);
  send(page(30));
  await turn();
  t.strictSame(wire.writes, [2, 1]);
});

test('what is urgent does not wait for work that was begun meanwhile', async (t) => {
  const { wire, send } = streamOn('control');
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      send(request(1));
      send(request(2));
      void Promise.resolve().then(() => {
        order.push(`work, after ${wire.writes.length} writes`);
        resolve();
      });
    });
  });
  t.strictSame(order, ['work, after 1 writes']);
  t.strictSame(wire.writes, [2]);
});

test('who has sent much waits until all of it is with the kernel', async (t) => {
  const { wire, send, drained } = streamOn('pages');
  wire.isSlow = true;
  t.ok(send(page(100_000)), 'there is room for more than a frame');
  t.ok(send(page(100_000)));
  t.notOk(send(page(100_000)));
  await turn();
  t.equal(drained(), 0);
  wire.taken();
  await turn();
  t.equal(drained(), 1);
});

test('what was sent goes out before a connection is closed in the same turn', async (t) => {
  const { wire, stream, send } = streamOn('packets');
  send({ kind: 'output-left', epoch: epoch(1) });
  stream.destroy();
  t.strictSame(wire.writes, [1]);
});

test('what can wait goes with the next that cannot, in its place', async (t) => {
  const { wire, stream, send } = streamOn('packets');
  send({ kind: 'output-left', epoch: epoch(1) }, true);
  await turn();
  t.strictSame(wire.writes, []);
  t.ok(stream.unsentBytes > 0);
  send({ kind: 'packets-end', epoch: epoch(2), items: 0 });
  await turn();
  t.strictSame(wire.writes, [2]);
  send({ kind: 'output-left', epoch: epoch(2) }, true);
  stream.flush();
  t.strictSame(wire.writes, [2, 1], 'or when it is told');
});

test('what can wait does so only while it is little', async (t) => {
  const { wire, send } = streamOn('disk');
  const write: Message = { kind: 'disk-write', epoch: epoch(1), disk: 0, offset: 0, data: new Uint8Array(30_000) };
  send(write, true);
  send(write, true);
  await turn();
  t.strictSame(wire.writes, []);
  send(write, true);
  await turn();
  t.strictSame(wire.writes, [3]);
});
