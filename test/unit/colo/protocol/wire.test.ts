import { test } from 'tap';
import { head } from '../../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../../src/colo/protocol/frame-reader.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { messageTable, type StreamName, streamOf, streams } from '../../../../src/colo/protocol/message-table.ts';
import type { Hello, Message, MessageKind } from '../../../../src/colo/protocol/messages.ts';
import { epoch, type Role, term } from '../../../../src/colo/protocol/numbers.ts';
import { everyMessage, shape } from './messages.ts';

const [KiB, MiB] = [1024, 1024 * 1024];
type From = Role | 'both';

/** What every message is on the wire. Hosts of different age meet on it: a line changes only with the protocol's version. */
const wire: Readonly<Record<MessageKind, readonly [code: number, stream: StreamName, from: From, limit: number]>> = {
  hello: [1, 'control', 'primary', 64 * KiB],
  welcome: [2, 'control', 'secondary', 64 * KiB],
  refusal: [3, 'control', 'both', 8 * KiB],
  protected: [4, 'control', 'primary', 0],
  end: [5, 'control', 'both', 2 * KiB],
  ended: [6, 'control', 'both', 0],
  heartbeat: [7, 'control', 'both', 24],
  'checkpoint-wanted': [8, 'control', 'secondary', 1],
  'boot-begin': [9, 'pages', 'primary', 16 * KiB],
  'boot-bytes': [10, 'pages', 'primary', MiB],
  'take-over': [11, 'control', 'primary', 2 * KiB],
  'checkpoint-ready': [16, 'control', 'secondary', 0],
  'checkpoint-request': [17, 'control', 'primary', 0],
  'checkpoint-reply': [18, 'control', 'secondary', 0],
  'vmstate-send': [19, 'control', 'primary', 1],
  'vmstate-size': [20, 'control', 'primary', 8],
  'vmstate-received': [21, 'control', 'secondary', 0],
  'vmstate-loaded': [22, 'control', 'secondary', 0],
  handover: [23, 'control', 'primary', 0],
  'handover-ready': [24, 'control', 'secondary', 0],
  'handover-done': [25, 'packets', 'primary', 0],
  pages: [32, 'pages', 'primary', MiB + 4 * KiB],
  'pages-end': [33, 'pages', 'primary', 8],
  vmstate: [34, 'pages', 'primary', MiB],
  'disk-write': [48, 'disk', 'primary', MiB + 4 * KiB],
  'disk-discard': [49, 'disk', 'primary', 17],
  'disk-zeroes': [50, 'disk', 'primary', 17],
  'disk-end': [51, 'disk', 'primary', 8],
  'disk-compare': [52, 'disk', 'primary', 17],
  'disk-hashes': [53, 'disk', 'secondary', 9 + 16 * 32],
  'disk-origin': [54, 'disk', 'primary', 0],
  'disk-history': [55, 'disk', 'secondary', MiB],
  'disk-generation': [56, 'disk', 'both', 64],
  'disk-sync': [57, 'disk', 'primary', 0],
  'disk-durable': [58, 'disk', 'secondary', 0],
  output: [64, 'packets', 'primary', 66 * KiB],
  input: [65, 'packets', 'primary', 66 * KiB],
  'packets-end': [66, 'packets', 'primary', 8],
  'output-left': [67, 'packets', 'primary', 0],
  'secondary-output': [68, 'packets', 'secondary', 66 * KiB],
  'output-confirmed': [69, 'packets', 'primary', 8],
};

/** What a reader of a stream makes of a frame. */
function outcome(stream: StreamName, peer: Role, bytes: Uint8Array): string {
  let taken = 0;
  try {
    new FrameReader(stream, peer, () => taken++).push(bytes);
  } catch (error) {
    return (error as Error).message;
  }
  return taken === 1 ? 'taken' : 'waits for more';
}

function encoded(message: Message, role: Role, change: (view: DataView) => void = () => {}): Uint8Array {
  const bytes = encodeFrame({ role, term: term(3), message });
  change(new DataView(bytes.buffer));
  return bytes;
}

test('every message has its code on the wire, its stream, and those who may say it', async (t) => {
  t.strictSame([...streams], ['control', 'pages', 'disk', 'packets']);
  for (const message of everyMessage) {
    const { kind } = message;
    const [code, stream, from] = wire[kind];
    t.equal(encoded(message, 'primary')[head.code], code, kind);
    t.equal(streamOf(kind), stream, kind);
    for (const role of ['primary', 'secondary'] as const) {
      const allowed = from === 'both' || from === role;
      t.equal(
        outcome(stream, role, encoded(message, role)),
        allowed ? 'taken' : `${kind} is nothing that a ${role} says`,
      );
    }
    const other = streams.find((name) => name !== stream) as StreamName;
    const sayer = from === 'both' ? 'primary' : from;
    t.equal(outcome(other, sayer, encoded(message, sayer)), `the peer sent ${kind} on the ${other} stream`);
  }
});

test('what is announced of a message is at most its limit, to the byte', async (t) => {
  for (const message of everyMessage) {
    const [, stream, from, limit] = wire[message.kind];
    const role = from === 'both' ? 'secondary' : from;
    const announcing = (length: number): string =>
      outcome(
        stream,
        role,
        encoded(message, role, (view) => view.setUint32(head.length, length, true)).subarray(0, head.sizeBytes),
      );
    const refused = `the peer announces ${limit + 1} bytes of ${message.kind}, which has ${limit} at most`;
    t.equal(announcing(limit + 1), refused);
    t.not(announcing(limit), refused);
    t.equal(messageTable[message.kind].limitBytes, limit);
  }
});

test('a message of its limit is sent, and one of a byte more is our mistake', async (t) => {
  const pages = (length: number): Message => ({ kind: 'pages', epoch: epoch(1), data: new Uint8Array(length) });
  t.equal(outcome('pages', 'primary', encoded(pages(MiB + 4 * KiB), 'primary')), 'taken');
  t.throws(() => encoded(pages(MiB + 4 * KiB + 1), 'primary'), {
    name: 'RangeError',
    message: 'pages has 1052673 bytes, more than 1052672',
  });
});

test('the head says who speaks, in which term and of which epoch, and nothing else', async (t) => {
  const bytes = encodeFrame({
    role: 'secondary',
    term: term(2 ** 40 + 5),
    message: { kind: 'disk-hashes', epoch: epoch(2 ** 33 + 6), disk: 7, offset: 2 ** 34, data: Uint8Array.of(9, 8) },
  });
  const number = (value: bigint): number[] =>
    Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(8 * at)) & 255n));
  t.strictSame(
    [...bytes],
    [
      ...[11, 0, 0, 0, 53, 2, 0, 0],
      ...number(2n ** 40n + 5n),
      ...number(2n ** 33n + 6n),
      ...[7, ...number(2n ** 34n), 9, 8],
    ],
  );
});

test('numbers are exact below 2^53, and others are no message', async (t) => {
  const size = (value: number): Message => ({ kind: 'vmstate-size', epoch: epoch(1), value });
  for (const value of [0, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    const seen: unknown[] = [];
    new FrameReader('control', 'primary', ({ message }) => seen.push(message)).push(encoded(size(value), 'primary'));
    t.strictSame(seen, [size(value)]);
  }
  for (const value of [-1, 0.5, 2 ** 53, Number.NaN]) {
    t.throws(() => encoded(size(value), 'primary'), { message: `${value} is no whole number below 2^53` });
  }
  const set = (at: number, value: bigint): string =>
    outcome(
      'control',
      'primary',
      encoded(size(5), 'primary', (view) => view.setBigUint64(at, value, true)),
    );
  t.equal(set(head.sizeBytes, 2n ** 53n), 'invalid message: vmstate-size: its value is 2^53 or more');
  t.equal(set(head.term, 2n ** 53n), 'invalid message: vmstate-size: its term is 2^53 or more');
  t.equal(set(head.epoch, 2n ** 53n), 'invalid message: vmstate-size: its epoch is 2^53 or more');
  t.equal(set(head.sizeBytes, 2n ** 53n - 1n), 'taken');
});

test('a clock is any number that has an end, or none', async (t) => {
  const beat: Message = { kind: 'heartbeat', clock: 1, echo: Number.NaN, laidBytes: 0 };
  for (const [value, what] of [
    [Number.POSITIVE_INFINITY, 'invalid message: heartbeat: its clock is Infinity'],
    [Number.NEGATIVE_INFINITY, 'invalid message: heartbeat: its clock is -Infinity'],
    [-1.5, 'taken'],
    [Number.NaN, 'taken'],
  ] as const) {
    const bytes = encoded(beat, 'primary', (view) => view.setFloat64(head.sizeBytes, value, true));
    t.equal(outcome('control', 'primary', bytes), what);
  }
});

test('says what is wrong with a message, and of which kind it is', async (t) => {
  const ended: Message = { kind: 'ended' };
  const at = (offset: number) => (view: DataView) => view.setUint8(offset, 1);
  t.equal(
    outcome('control', 'primary', encoded(ended, 'primary', at(head.epoch))),
    'invalid message: ended: it has an epoch',
  );
  t.equal(
    outcome('control', 'primary', encoded(ended, 'primary', at(head.reserved))),
    'invalid message: code 6 on the control stream',
  );
  t.equal(
    outcome('control', 'primary', encoded(ended, 'primary', at(head.reserved + 1))),
    'invalid message: code 6 on the control stream',
  );
  const beat = encoded({ kind: 'heartbeat', clock: 1, echo: 1, laidBytes: 1 }, 'primary', (view) =>
    view.setUint32(head.length, 23, true),
  );
  t.equal(
    outcome('control', 'primary', beat.subarray(0, head.sizeBytes + 23)),
    'invalid message: heartbeat: it is cut',
  );
});

/** What is made of this JSON as the rest of a message. */
function spoken(kind: 'hello' | 'welcome' | 'refusal' | 'end' | 'take-over', json: unknown): string {
  const rest = typeof json === 'string' ? Buffer.from(json, 'latin1') : Buffer.from(JSON.stringify(json));
  const [code, , from] = wire[kind];
  const bytes = new Uint8Array(head.sizeBytes + rest.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(head.length, rest.length, true);
  view.setUint8(head.code, code);
  view.setUint8(head.role, from === 'secondary' ? 2 : 1);
  bytes.set(rest, head.sizeBytes);
  return outcome('control', from === 'secondary' ? 'secondary' : 'primary', bytes);
}

const { kind: _, ...hello } = everyMessage.find(({ kind }) => kind === 'hello') as Hello;
const words = (length: number): string => 'x'.repeat(length);

test('texts and numbers of a greeting have their limits', async (t) => {
  for (const [kind, json] of [
    ['hello', hello],
    ['hello', { ...hello, pair: words(4096), arbiter: words(4096), detectMs: 0 }],
    ['welcome', { shape }],
    ['refusal', { reason: words(4096) }],
    ['refusal', { reason: 'of another version', more: 1 }],
    ['end', { reason: 'unprotect', exitCode: 0 }],
    ['end', { reason: 'power-off', exitCode: 3 }],
    ['end', { reason: 'error', exitCode: 1 }],
    ['end', { reason: 'stopped', exitCode: 0 }],
    ['end', { reason: 'error', exitCode: 0, why: words(256) }],
    ['end', { reason: 'error', exitCode: 0, why: '\u0001'.repeat(256) }],
    ['take-over', { why: '\u0001'.repeat(256) }],
  ] as const) {
    t.equal(spoken(kind, json), 'taken');
  }
  for (const [kind, json] of [
    ['hello', { ...hello, pair: words(4097) }],
    ['hello', { ...hello, arbiter: words(4097) }],
    ['hello', { ...hello, version: -1 }],
    ['hello', { ...hello, version: undefined }],
    ['hello', []],
    ['hello', null],
    ['hello', { ...hello, detectMs: 0.5 }],
    ['hello', { ...hello, more: 1 }],
    ['hello', { ...hello, shape: undefined }],
    ['welcome', {}],
    ['welcome', { shape, more: 1 }],
    ['refusal', { reason: words(4097) }],
    ['refusal', {}],
    ['end', { reason: 'bored', exitCode: 0 }],
    ['end', { reason: 'error', exitCode: -1 }],
    ['end', { reason: 'error' }],
    ['end', { reason: 'error', exitCode: 0, more: 1 }],
    ['end', { reason: 'error', exitCode: 0, why: words(257) }],
    ['end', { reason: 'error', exitCode: 0, why: 5 }],
    ['take-over', {}],
    ['take-over', { why: words(257) }],
    ['take-over', { why: 'EIO', more: 1 }],
  ] as const) {
    t.match(spoken(kind, json), new RegExp(`^invalid message: ${kind}: Invalid`), JSON.stringify(json).slice(0, 80));
  }
  t.equal(spoken('refusal', '{'), 'invalid message: refusal: it is no JSON');
  t.equal(spoken('refusal', '{"reason":"\xff"}'), 'invalid message: refusal: it is no JSON');
});

test('a kernel and an initrd have at most 1 GiB together: a peer that announces more is refused', async (t) => {
  const sizes = (kernel: number, initrd: number): Message => ({
    ...{ kind: 'boot-begin', kernel: { name: 'vmlinuz', sizeBytes: kernel }, commandLine: '', kaslr: false },
    initrd: { name: 'root.cpio', sizeBytes: initrd },
  });
  const of = (kernel: number, initrd: number): string =>
    outcome('pages', 'primary', encoded(sizes(kernel, initrd), 'primary'));
  t.equal(of(2 ** 29, 2 ** 29), 'taken');
  t.match(of(2 ** 29, 2 ** 29 + 1), /boot-begin: kernel and initrd have more than 1073741824 bytes/);
  t.match(of(-1, 0), /invalid message: boot-begin/);
});
