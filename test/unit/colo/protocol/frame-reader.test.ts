import { test } from 'tap';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import { head } from '../../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../../src/colo/protocol/frame-reader.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { messageTable, type StreamName, streamOf } from '../../../../src/colo/protocol/message-table.ts';
import { type Message, protocolVersion } from '../../../../src/colo/protocol/messages.ts';
import { epoch, type Role, term } from '../../../../src/colo/protocol/numbers.ts';
import { ProtocolError, type ProtocolFault } from '../../../../src/colo/protocol/protocol-error.ts';
import { randomNumbers } from '../../../support/random.ts';
import { everyMessage } from './messages.ts';

const roleFor = (message: Message): Role => messageTable[message.kind].from ?? 'primary';
const frameOf = (message: Message): Frame => ({ role: roleFor(message), term: term(9), message });

/** What a reader makes of bytes that come in these pieces. */
function read(stream: StreamName, peer: Role, pieces: readonly Uint8Array[]): { frames: Frame[]; reader: FrameReader } {
  const frames: Frame[] = [];
  const reader = new FrameReader(stream, peer, (frame) => frames.push(frame));
  for (const piece of pieces) reader.push(piece);
  return { frames, reader };
}

/** The fault a reader finds in these bytes. */
function faultIn(stream: StreamName, peer: Role, bytes: Uint8Array): ProtocolFault | undefined {
  try {
    read(stream, peer, [bytes]);
  } catch (error) {
    if (error instanceof ProtocolError) return error.fault;
    throw error;
  }
  return undefined;
}

const changed = (message: Message, change: (view: DataView) => void): Uint8Array => {
  const bytes = encodeFrame(frameOf(message));
  change(new DataView(bytes.buffer));
  return bytes;
};

const request: Message = { kind: 'checkpoint-request', epoch: epoch(4) };
const write: Message = { kind: 'disk-write', epoch: epoch(4), disk: 0, offset: 512, data: new Uint8Array(64) };

test('one of every kind is listed', async (t) => {
  t.same(everyMessage.map((message) => message.kind).sort(), Object.keys(messageTable).sort());
});

for (const message of everyMessage) {
  test(`${message.kind} is read as it was written, in one piece or byte by byte`, async (t) => {
    const frame = frameOf(message);
    const bytes = encodeFrame(frame);
    t.same(read(streamOf(message.kind), frame.role, [bytes]).frames, [frame]);
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    const { frames, reader } = read(streamOf(message.kind), frame.role, single);
    t.same(frames, [frame]);
    t.ok(reader.atBoundary);
  });
}

test('a stream is cut into the same frames, wherever its chunks end', async (t) => {
  const messages = everyMessage.filter(
    ({ kind }) => streamOf(kind) === 'disk' && messageTable[kind].from === 'primary',
  );
  const bytes = Buffer.concat([...messages, ...messages].map((message) => encodeFrame(frameOf(message))));
  const random = randomNumbers(7);
  for (let round = 0; round < 200; round++) {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random(60);
      pieces.push(bytes.subarray(at, end));
      at = end;
    }
    const { frames } = read('disk', 'primary', pieces);
    t.same(
      frames.map((frame) => frame.message),
      [...messages, ...messages],
    );
  }
});

test('a code that is unknown is an invalid message', async (t) => {
  t.equal(
    faultIn(
      'control',
      'primary',
      changed(request, (view) => view.setUint8(head.code, 99)),
    ),
    'invalid-message',
  );
  t.throws(() => read('control', 'primary', [changed(request, (view) => view.setUint8(head.code, 0))]), {
    message: 'invalid message: code 0 on the control stream',
  });
});

test('a peer that announces more than a message has is refused by its head alone', async (t) => {
  const bytes = changed(write, (view) => view.setUint32(head.length, 0xffff_ffff, true)).subarray(0, head.sizeBytes);
  t.throws(() => read('disk', 'primary', [bytes]), {
    message: 'the peer announces 4294967295 bytes of disk-write, which has 1052672 at most',
  });
});

test('a value of 2^60 is refused', async (t) => {
  const size: Message = { kind: 'vmstate-size', epoch: epoch(1), value: 1 };
  const bytes = changed(size, (view) => view.setBigUint64(head.sizeBytes, 1n << 60n, true));
  t.throws(() => read('control', 'primary', [bytes]), {
    message: 'invalid message: vmstate-size: its value is 2^53 or more',
  });
});

test('a message on the wrong stream, or of the wrong role, is refused', async (t) => {
  t.equal(faultIn('control', 'primary', encodeFrame(frameOf(write))), 'out-of-order');
  t.equal(faultIn('control', 'secondary', encodeFrame(frameOf(request))), 'out-of-order');
  const asSecondary = changed(request, (view) => view.setUint8(head.role, 2));
  t.equal(faultIn('control', 'secondary', asSecondary), 'out-of-order');
});

test('a message without all of its fields is refused, one that is longer has bytes left over', async (t) => {
  const cut = changed(write, (view) => view.setUint32(head.length, 3, true)).subarray(0, head.sizeBytes + 3);
  t.equal(faultIn('disk', 'primary', cut), 'invalid-message');
  const ready: Message = { kind: 'vmstate-size', epoch: epoch(4), value: 9 };
  t.equal(
    faultIn(
      'control',
      'primary',
      changed(ready, (view) => view.setUint32(head.length, 7, true)),
    ),
    'invalid-message',
  );
  const whole = encodeFrame(frameOf({ kind: 'disk-end', epoch: epoch(1), items: 1 }));
  t.notOk(read('disk', 'primary', [whole.subarray(0, whole.length - 1)]).reader.atBoundary);
});

test('a greeting is checked field by field', async (t) => {
  const hello = everyMessage[0] as Message;
  const bytes = encodeFrame(frameOf(hello));
  const short = `{"version":${protocolVersion},"pair":"web"}`;
  for (const spoil of ['{', '"x"', short, '{"version":-1,"pair":"web","shape":{}}', '\xff']) {
    const rest = Buffer.from(spoil, 'latin1');
    const frame = new Uint8Array(head.sizeBytes + rest.length);
    frame.set(bytes.subarray(0, head.sizeBytes));
    frame.set(rest, head.sizeBytes);
    new DataView(frame.buffer).setUint32(head.length, rest.length, true);
    t.equal(faultIn('control', 'primary', frame), 'invalid-message', spoil);
  }
});

test('after an error nothing more is taken', async (t) => {
  const frames: Frame[] = [];
  const reader = new FrameReader('control', 'primary', (frame) => frames.push(frame));
  t.throws(() => reader.push(changed(request, (view) => view.setUint8(head.code, 99))));
  reader.push(encodeFrame(frameOf(request)));
  t.equal(frames.length, 0);
});

test('random bytes are frames or a ProtocolError, never anything else', async (t) => {
  const random = randomNumbers(11);
  let errors = 0;
  for (let round = 0; round < 20_000; round++) {
    const message = everyMessage[random(everyMessage.length)] as Message;
    const bytes = encodeFrame(frameOf(message));
    for (let spoilt = random(4); spoilt >= 0; spoilt--) bytes[random(bytes.length)] = random(256);
    if (faultIn(streamOf(message.kind), roleFor(message), bytes) !== undefined) errors++;
  }
  t.ok(errors > 1000);
});

test('a message that breaks its own limit is our mistake', async (t) => {
  t.throws(() => encodeFrame(frameOf({ ...write, data: new Uint8Array(2 << 20) } as Message)), RangeError);
  t.throws(() => encodeFrame(frameOf({ kind: 'vmstate-size', epoch: epoch(1), value: -1 })), RangeError);
});
