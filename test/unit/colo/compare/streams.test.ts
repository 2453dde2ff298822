import { test } from 'tap';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { CompareRig } from '../../../support/compare-rig.ts';
import { long, type TcpParts, tcpPacket } from '../../../support/packets.ts';

const { syn, ack, fin, rst, psh } = tcpFlag;
const isn = 1000;

/** Data of a connection, at so many bytes into it. */
function data(at: number, payload: TcpParts['payload'], parts: TcpParts = {}): Uint8Array {
  return tcpPacket({ sequence: isn + 1 + at, payload: payload ?? '', ...parts });
}

function pure(acknowledgement: number, at = 0, parts: TcpParts = {}): Uint8Array {
  return tcpPacket({ sequence: isn + 1 + at, acknowledgement, ...parts });
}

/** A connection that a client opened: both answered, each with its own number. */
function opened(start = isn, settings = {}): CompareRig {
  const rig = new CompareRig(settings);
  rig.p(tcpPacket({ sequence: start, acknowledgement: 500, flags: syn | ack }));
  rig.s(tcpPacket({ sequence: 77_777, acknowledgement: 500, flags: syn | ack }));
  rig.released.length = 0;
  rig.dropped.length = 0;
  return rig;
}

test('equal bytes leave, whoever is first', async (t) => {
  const rig = opened();
  rig.p(data(0, 'hello'));
  t.strictSame(rig.released, [], 'P alone has no say');
  rig.s(data(0, 'hello'));
  t.strictSame([rig.released, rig.dropped], [[2], [1002]]);
  rig.s(data(5, ' world'));
  t.strictSame(rig.dropped, [1002], 'S waits for P');
  rig.p(data(5, ' world'));
  t.strictSame(
    [rig.released, rig.dropped],
    [
      [2, 3],
      [1002, 1003],
    ],
  );
  t.strictSame(rig.divergences, []);
  t.match(rig.comparator.sizes, { flows: 1, waiting: 0, storedBytes: 0 });
  t.match(rig.comparator.facts, { released: 3, dropped: 3, passed: 0, divergences: 0 });
});

test('a byte that differs wants a checkpoint, and nothing of the connection leaves before', async (t) => {
  for (const order of ['P first', 'S first']) {
    const rig = opened();
    const [mine, theirs] = [data(0, 'the time is 12:00:01 at P'), data(0, 'the time is 12:00:02 at P')];
    if (order === 'P first') rig.p(mine);
    rig.s(theirs);
    if (order !== 'P first') rig.p(mine);
    t.match(rig.divergences, [{ reason: 'payload', position: 19, flow: 'tcp 192.0.2.1:80 - 198.51.100.7:40112' }]);
    t.equal(Buffer.from(rig.divergences[0]?.before ?? []).toString(), 'the time is 12:00:0');
    t.equal(Buffer.from(rig.divergences[0]?.primary ?? []).toString(), '1 at P');
    t.equal(Buffer.from(rig.divergences[0]?.secondary ?? []).toString(), '2 at P');
    rig.both(data(25, 'all equal again'));
    rig.both(pure(500));
    t.strictSame(rig.released, []);
    t.equal(rig.divergences.length, 1, 'it is said once');
    t.strictSame(rig.dropped, [], 'S keeps what did not leave');
    t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
    rig.both(tcpPacket({ sourcePort: 81, flags: syn }));
    t.equal(rig.released.length, 1, 'other connections go on');
    rig.checkpoint();
    rig.both(data(40, 'next'));
    t.equal(rig.released.length, 2, 'a checkpoint makes it equal');
  }
});

test('a difference in a long segment is found, wherever it is', async (t) => {
  for (const at of [0, 1, 63, 64, 700, 1447]) {
    const rig = opened();
    const payload = new Uint8Array(1448).map((_, index) => index);
    rig.p(data(0, payload));
    rig.s(data(0, payload.with(at, 255 - (payload[at] as number))));
    t.match(rig.divergences, [{ reason: 'payload', position: at }]);
  }
});

test('segments may be cut in any way', async (t) => {
  const rig = opened();
  rig.p(data(0, 'abcdefghij'));
  for (const [at, payload] of ['abc', 'def', 'ghi'].entries()) rig.s(data(3 * at, payload));
  t.strictSame(rig.released, [], 'a byte is missing');
  rig.s(data(9, 'jklmnop'));
  t.strictSame(rig.released, [2]);
  rig.p(data(10, 'kl'));
  rig.p(data(12, 'mnop'));
  t.strictSame(rig.released, [2, 3, 4]);
  t.strictSame(rig.dropped, [1002, 1003, 1004, 1005]);
  const big = opened();
  const bytes = new Uint8Array(64_000).map((_, index) => index * 7);
  big.p(data(0, bytes, { partialChecksum: true }));
  for (let at = 0; at < 64_000; at += 1460) big.s(data(at, bytes.subarray(at, at + 1460)));
  t.strictSame(big.released, [2]);
  for (let at = 0; at < 64_000; at += 640) big.p(data(64_000 + at, bytes.subarray(at, at + 640)));
  big.s(data(64_000, bytes));
  t.equal(big.released.length, 101);
  t.strictSame([rig.reasons, big.reasons], [[], []]);
});

test('an acknowledgement does not run ahead of S', async (t) => {
  const rig = opened();
  rig.p(pure(600));
  t.strictSame(rig.released, []);
  rig.s(pure(599));
  t.strictSame(rig.released, []);
  rig.s(pure(600));
  t.strictSame(rig.released, [2]);
  rig.p(pure(550));
  rig.p(pure(600));
  t.strictSame(rig.released, [2, 3, 4], 'what S has acknowledged already');
  rig.s(pure(10));
  rig.p(pure(601));
  rig.p(data(0, 'x', { acknowledgement: 600 }));
  rig.s(data(0, 'x', { acknowledgement: 590 }));
  t.strictSame(rig.released, [2, 3, 4], 'P keeps its order');
  rig.s(pure(700));
  t.strictSame(rig.released, [2, 3, 4, 5, 6]);
});

test('data waits for the acknowledgement that it carries', async (t) => {
  const rig = opened();
  rig.p(data(0, 'x', { acknowledgement: 501 }));
  rig.s(data(0, 'x', { acknowledgement: 500 }));
  t.strictSame(rig.released, []);
  rig.s(pure(501, 1));
  t.strictSame(rig.released, [2]);
});

test('sequence and acknowledgement numbers wrap', async (t) => {
  const start = 0xfffffff0;
  const rig = opened(start);
  const at = (offset: number, payload: string, acknowledgement = 500): Uint8Array =>
    tcpPacket({ sequence: start + 1 + offset, payload, acknowledgement });
  rig.p(at(0, '0123456789abcdefghij'));
  rig.s(at(0, '01234'));
  rig.s(at(5, '56789abcdefghij'));
  rig.both(at(20, 'next'));
  rig.both(at(10, 'abcdef'));
  t.strictSame(rig.released, [2, 3, 4]);
  const acks = opened();
  acks.both(pure(0x7ffffffe));
  acks.both(pure(0x80000005));
  acks.both(pure(0xfffffffe));
  acks.p(pure(3));
  t.strictSame(acks.released, [2, 3, 4]);
  acks.s(pure(3));
  t.strictSame(acks.released, [2, 3, 4, 5]);
  t.strictSame([rig.reasons, acks.reasons], [[], []]);
});

/** Both have said so much of it: a checkpoint for each half of what may be in flight. */
function goTo(rig: CompareRig, from: number, to: number): void {
  for (let at = from; at < to; at += 2 ** 29) {
    rig.p(data(Math.min(to, at + 2 ** 29) - 1, 'x'));
    rig.checkpoint();
  }
  rig.released.length = 0;
}

test('a connection goes on however much it has said', async (t) => {
  const rig = opened();
  let said = 0;
  for (const at of [2 ** 31 - 2, 2 ** 31 + 5, 3 * 2 ** 30, 2 ** 32 - 2, 2 ** 32 + 7, 2 ** 32 + 2 ** 31 + 9]) {
    goTo(rig, said, at);
    rig.p(data(at, 'hello'));
    t.strictSame(rig.released, [], 'S has to say it');
    rig.s(data(at, 'hello'));
    rig.both(data(at, 'hello'));
    t.strictSame([rig.released.length, rig.reasons], [2, []], `${at} bytes into it`);
    said = at + 5;
  }
  rig.s(data(said, '', { flags: ack | fin }));
  rig.p(data(said, '', { flags: ack | fin }));
  t.strictSame([rig.released.length, rig.reasons], [3, []], 'and ends there');
  const differing = opened();
  goTo(differing, 0, 2 ** 31 + 5);
  differing.p(data(2 ** 31 + 5, 'mine'));
  differing.s(data(2 ** 31 + 5, 'thine'));
  t.strictSame(differing.reasons, ['payload']);
  t.equal(differing.divergences[0]?.position, undefined, 'at which byte is not known any more');
});

test('what was compared may be sent again, by either', async (t) => {
  const rig = opened();
  rig.both(data(0, 'hello'));
  rig.p(data(0, 'hello'));
  rig.p(data(2, 'llo'));
  rig.s(data(0, 'hel'));
  t.strictSame(rig.released, [2, 3, 4]);
  rig.p(data(3, 'lo, w'));
  t.strictSame(rig.released, [2, 3, 4], 'three bytes of it are new');
  rig.s(data(0, 'hello, w'));
  t.strictSame(rig.released, [2, 3, 4, 5]);
  rig.s(data(8, 'orld'));
  rig.s(data(8, 'orld'));
  rig.s(data(9, 'rl'));
  t.equal(rig.comparator.sizes.storedBytes, 256, 'kept once');
  rig.p(data(8, 'or'));
  rig.p(data(8, 'orld'));
  t.strictSame(rig.released, [2, 3, 4, 5, 6, 7]);
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
  t.equal(rig.dropped.length, 6);
  t.strictSame(rig.reasons, []);
});

test('segments may come in another order', async (t) => {
  const rig = opened();
  rig.s(data(3, 'def'));
  rig.s(data(6, 'ghi'));
  rig.p(data(6, 'ghi'));
  rig.p(data(0, 'abc'));
  rig.s(data(0, 'abc'));
  t.strictSame(rig.released, [], 'the first of P has a hole before it');
  rig.p(data(3, 'def'));
  t.strictSame(rig.released, [2, 3, 4]);
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
  const other = opened();
  other.s(data(3, 'dXf'));
  other.p(data(3, 'def'));
  t.strictSame(other.reasons, [], 'what is before it comes first');
  other.both(data(0, 'abc'));
  t.match(other.divergences, [{ reason: 'payload', position: 4 }]);
});

test('keep-alives and probes of a closed window', async (t) => {
  const rig = opened();
  rig.both(data(0, 'hello'));
  rig.p(pure(500, 4));
  rig.p(data(4, [0]));
  t.strictSame(rig.released, [2, 3, 4], 'in front of what was sent');
  rig.s(pure(500, 4));
  rig.s(data(4, [0]));
  rig.p(data(5, 'w', { window: 0 }));
  t.strictSame(rig.released, [2, 3, 4], 'a probe with a new byte says something');
  rig.s(data(5, 'w', { window: 77 }));
  rig.p(pure(500, 6, { window: 0 }));
  rig.p(pure(500, 6, { window: 9 }));
  t.strictSame(rig.released, [2, 3, 4, 5, 6, 7], 'windows are no matter');
  t.strictSame(rig.reasons, []);
});

test('headers and options are no matter', async (t) => {
  const rig = opened();
  rig.p(data(0, 'x', { id: 5, ttl: 64, options: [8, 10, 0, 0, 0, 9, 0, 0, 0, 1], flags: ack | psh }));
  rig.s(data(0, 'x', { id: 9, ttl: 63, options: [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2], window: 3 }));
  t.strictSame(rig.released, [2]);
});

test('a FIN leaves when S has sent it at the same place', async (t) => {
  const rig = opened();
  rig.p(data(0, 'bye', { flags: ack | fin }));
  rig.s(data(0, 'bye'));
  t.strictSame(rig.released, []);
  rig.s(data(3, '', { flags: ack | fin }));
  t.strictSame(rig.released, [2]);
  rig.p(data(0, 'bye', { flags: ack | fin }));
  rig.p(pure(500, 4));
  t.strictSame(rig.released, [2, 3, 4], 'and again');
  t.strictSame(rig.reasons, []);
  const early = opened();
  early.s(data(0, 'bye', { flags: ack | fin }));
  early.p(data(0, 'bye'));
  t.strictSame(early.released, [2], 'half of it');
  early.p(data(3, '', { flags: ack | fin }));
  t.strictSame(early.released, [2, 3]);
  early.both(pure(501, 4));
  t.strictSame(early.released, [2, 3, 4], 'the other half goes on');
});

test('an end elsewhere is a divergence', async (t) => {
  const sayings: [string, (rig: CompareRig) => void][] = [
    ['P goes on, S ended before', (rig) => [rig.s(data(0, '', { flags: ack | fin })), rig.p(data(0, 'more'))]],
    ['P goes on, S ends then', (rig) => [rig.p(data(0, 'more')), rig.s(data(0, '', { flags: ack | fin }))]],
    ['S goes on, P ended before', (rig) => [rig.p(data(0, '', { flags: ack | fin })), rig.s(data(0, 'more'))]],
    ['S goes on, P ends then', (rig) => [rig.s(data(0, 'more')), rig.p(data(0, '', { flags: ack | fin }))]],
    [
      'S ends before P',
      (rig) => [rig.s(data(0, 'ab', { flags: ack | fin })), rig.p(data(0, 'abc', { flags: ack | fin }))],
    ],
    [
      'P ends before S',
      (rig) => [rig.s(data(0, 'abc', { flags: ack | fin })), rig.p(data(0, 'ab', { flags: ack | fin }))],
    ],
    [
      'elsewhere, without data',
      (rig) => [rig.s(data(7, '', { flags: ack | fin })), rig.p(data(0, '', { flags: ack | fin }))],
    ],
  ];
  for (const [what, say] of sayings) {
    const rig = opened();
    say(rig);
    t.strictSame([rig.released, rig.reasons], [[], ['end']], what);
  }
  const rig = opened();
  rig.s(data(0, 'ab', { flags: ack | fin }));
  rig.p(data(0, 'abc'));
  t.match(rig.divergences, [{ position: 2, primary: Buffer.from('c'), secondary: Buffer.alloc(0) }]);
});

test('a RST leaves when S has sent one and knew as much', async (t) => {
  const rig = opened();
  rig.p(pure(500, 0, { flags: rst }));
  t.strictSame(rig.released, []);
  rig.s(pure(500, 3, { flags: rst }));
  t.strictSame(rig.released, [2]);
  const knowing = opened();
  knowing.s(pure(600));
  knowing.s(pure(590, 0, { flags: rst | ack }));
  knowing.p(pure(600, 0, { flags: rst | ack }));
  t.strictSame(knowing.released, [2]);
  const ahead = opened();
  ahead.s(pure(590, 0, { flags: rst | ack }));
  ahead.p(pure(600, 0, { flags: rst | ack }));
  t.strictSame([ahead.released, ahead.reasons], [[], []], 'it waits, and the time decides');
});

test('S resets and P goes on: a divergence', async (t) => {
  const rig = opened();
  rig.p(data(0, 'hello'));
  rig.s(pure(500, 0, { flags: rst }));
  t.strictSame([rig.released, rig.reasons], [[], ['reset']]);
  const later = opened();
  later.s(pure(500, 0, { flags: rst }));
  later.p(pure(500));
  t.strictSame([later.released, later.reasons], [[2], []], 'it says nothing new');
  later.p(pure(501));
  t.strictSame(later.reasons, ['reset']);
});

test('S alone resets a connection on which P is idle: it waits too long, as an end does', async (t) => {
  for (const flags of [rst, rst | ack]) {
    const rig = opened();
    rig.now = 100;
    rig.s(pure(500, 0, { flags }));
    rig.s(pure(500, 0, { flags }));
    t.strictSame(rig.dropped, [1003], 'S keeps its RST, once');
    rig.comparator.scan(3099);
    t.strictSame(rig.reasons, []);
    rig.comparator.scan(3100);
    t.match(rig.divergences, [{ reason: 'timeout', waits: 'secondary' }]);
    const both = opened();
    both.s(pure(500, 0, { flags }));
    both.p(pure(500, 0, { flags }));
    t.strictSame([both.released, both.dropped], [[2], [1002]], 'until P’s has left');
    both.s(pure(500, 0, { flags }));
    both.p(pure(500, 0, { flags }));
    t.strictSame(
      [both.released, both.dropped],
      [
        [2, 3],
        [1002, 1003],
      ],
      'each further one is that one again',
    );
    both.comparator.scan(9000);
    t.strictSame([both.reasons, both.comparator.sizes.waiting], [[], 0]);
  }
  const refused = new CompareRig();
  refused.s(pure(500, 0, { flags: rst | ack }));
  t.strictSame(refused.dropped, [1001], 'where nothing is open nothing dies');
});

test('S’s RST stays with what it said before, and does not hold it', async (t) => {
  const rig = opened();
  rig.s(data(0, 'hello'));
  rig.s(pure(500, 5, { flags: rst }));
  rig.p(data(0, 'hello'));
  t.strictSame([rig.released, rig.dropped], [[2], [1002]]);
  rig.p(pure(500, 5, { flags: rst }));
  t.strictSame([rig.released, rig.dropped, rig.reasons], [[2, 3], [1002, 1003], []]);
});

test('P’s RST was of something else, and P has gone on before S sends the same', async (t) => {
  const rig = opened();
  rig.p(pure(500, 0, { flags: rst }));
  rig.p(data(0, 'alive'));
  rig.s(pure(500, 0, { flags: rst }));
  t.strictSame([rig.released, rig.reasons], [[2], []], 'S’s RST is P’s, and resets nothing behind it');
  rig.s(data(0, 'alive'));
  rig.p(pure(500, 5, { flags: rst }));
  t.strictSame(rig.released, [2, 3], 'the next RST waits for another one of S');
  rig.s(pure(500, 5, { flags: rst }));
  t.strictSame([rig.released, rig.reasons], [[2, 3, 4], []]);
});

test('a RST of something else does not end the connection', async (t) => {
  const rig = opened();
  rig.both(pure(500, 0, { flags: rst }));
  rig.p(data(0, 'alive'));
  t.strictSame([rig.released, rig.reasons], [[2], []]);
  rig.s(data(0, 'alive'));
  t.strictSame(rig.released, [2, 3]);
});

test('a RST of something else says nothing of the connection, however far its number lies', async (t) => {
  // A guest refuses a wrong acknowledgement with its number, and waits on for the right one (RFC 9293, 3.10.7.4).
  const stray = (): CompareRig => {
    const rig = opened();
    rig.both(tcpPacket({ sequence: isn + 1_000_000, flags: rst }));
    rig.both(data(0, 'alive'));
    rig.released.length = 0;
    rig.dropped.length = 0;
    return rig;
  };
  const waiting = stray();
  waiting.p(data(5, 'on', { acknowledgement: 600 }));
  waiting.s(data(5, 'on'));
  t.strictSame([waiting.released, waiting.dropped], [[], []], 'what has not left is kept by S');
  for (const flags of [ack | fin, rst | ack]) {
    const dying = stray();
    dying.s(data(5, '', { acknowledgement: 500, flags }));
    dying.comparator.scan(10_000);
    t.strictSame(dying.reasons, ['timeout'], 'an end in S alone is noticed');
  }
});

test('S had more to say before a RST of both: the connection is over, and that wants no checkpoint', async (t) => {
  const rig = opened();
  rig.s(data(0, 'more'));
  rig.s(pure(500, 4, { flags: rst | ack }));
  rig.p(pure(500, 0, { flags: rst | ack }));
  rig.comparator.scan(10_000);
  t.strictSame([rig.released, rig.reasons], [[2], []]);
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
});

test('S is ahead when both send a RST of something else: what it has said since is compared', async (t) => {
  const rig = opened();
  const stray = tcpPacket({ sequence: isn + 1_000_000, flags: rst });
  rig.s(stray);
  rig.s(data(0, 'alive'));
  rig.p(stray);
  rig.p(data(0, 'alive'));
  t.strictSame([rig.released, rig.reasons], [[2, 3], []]);
});

test('refusals: each attempt on its own', async (t) => {
  const rig = new CompareRig();
  const refusal = (acknowledgement: number): Uint8Array =>
    tcpPacket({ sequence: 0, acknowledgement, flags: rst | ack });
  rig.both(refusal(501));
  rig.p(refusal(501));
  t.strictSame(rig.released, [1, 2]);
  rig.p(refusal(400));
  rig.p(refusal(901));
  t.strictSame(rig.released, [1, 2], 'S may accept this one');
  rig.s(refusal(400));
  t.strictSame(rig.released, [1, 2, 3]);
  rig.s(refusal(901));
  t.strictSame(rig.released, [1, 2, 3, 4]);
  rig.both(tcpPacket({ sequence: isn, acknowledgement: 77, flags: syn | ack }));
  rig.both(data(0, 'x', { acknowledgement: 77 }));
  t.strictSame([rig.released.length, rig.reasons], [6, []], 'then it is accepted');
});

test('S refuses several attempts before P refuses the first', async (t) => {
  const rig = new CompareRig();
  const refusal = (acknowledgement: number): Uint8Array =>
    tcpPacket({ sequence: 0, acknowledgement, flags: rst | ack });
  for (const number of [501, 501, 400, 901]) rig.s(refusal(number));
  for (const number of [501, 400, 400, 901]) rig.p(refusal(number));
  t.strictSame([rig.released, rig.reasons], [[1, 2, 3, 4], []]);
  rig.p(refusal(700));
  t.strictSame(rig.released, [1, 2, 3, 4], 'S may accept this one');
  const accepting = new CompareRig();
  accepting.s(refusal(501));
  accepting.s(tcpPacket({ sequence: 77_777, acknowledgement: 901, flags: syn | ack }));
  accepting.p(refusal(501));
  accepting.p(tcpPacket({ sequence: isn, acknowledgement: 901, flags: syn | ack }));
  t.strictSame([accepting.released, accepting.reasons], [[1, 2], []], 'the second is accepted');
  const closed = opened();
  closed.both(pure(500, 0, { flags: rst }));
  closed.checkpoint();
  closed.p(refusal(400));
  t.strictSame(closed.released, [2], 'of a connection that is reset no number counts');
  const unseen = opened();
  unseen.p(pure(500, 0, { flags: rst }));
  unseen.checkpoint();
  unseen.p(refusal(400));
  t.strictSame(unseen.released, [], 'nor of one that a checkpoint let reset');
});

test('P accepts what S refuses, and the reverse', async (t) => {
  const rig = new CompareRig();
  rig.p(tcpPacket({ sequence: isn, flags: syn | ack }));
  rig.s(tcpPacket({ sequence: 0, flags: rst | ack }));
  t.strictSame([rig.released, rig.reasons], [[], ['reset']]);
  const other = new CompareRig();
  other.p(tcpPacket({ sequence: 0, flags: rst | ack }));
  other.s(tcpPacket({ sequence: isn, flags: syn | ack }));
  t.strictSame([other.released, other.reasons], [[], []]);
  other.now = 3000;
  other.comparator.scan(3000);
  t.strictSame(other.reasons, ['timeout']);
});

test('a SYN leaves when S has sent the same kind, and acknowledged as much', async (t) => {
  for (const first of ['P', 'S'] as const) {
    const rig = new CompareRig();
    const mine = tcpPacket({ sequence: isn, flags: syn | ack });
    const theirs = tcpPacket({ sequence: 0x80000000, flags: syn | ack });
    if (first === 'P') rig.p(mine);
    rig.s(theirs);
    if (first === 'S') rig.p(mine);
    t.strictSame(rig.released, [1]);
    rig.p(mine);
    t.strictSame(rig.released, [1, 2], 'and again');
    rig.s(theirs);
    rig.s(tcpPacket({ sequence: isn, flags: syn | ack }));
    rig.both(data(0, 'data'));
    t.strictSame([rig.released, rig.reasons], [[1, 2, 3], []], 'S in both numbers');
  }
  const ahead = new CompareRig();
  ahead.s(tcpPacket({ sequence: 5, acknowledgement: 499, flags: syn | ack }));
  ahead.p(tcpPacket({ sequence: isn, acknowledgement: 500, flags: syn | ack }));
  t.strictSame(ahead.released, []);
});

test('connections that the guest opens, also from both ends at once', async (t) => {
  const rig = new CompareRig();
  rig.p(tcpPacket({ sequence: isn, flags: syn }));
  t.strictSame(rig.released, []);
  rig.s(tcpPacket({ sequence: 42, flags: syn }));
  t.strictSame(rig.released, [1]);
  rig.p(tcpPacket({ sequence: isn, flags: syn | ack }));
  t.strictSame(rig.released, [1], 'simultaneous open answers too');
  rig.s(tcpPacket({ sequence: 42, flags: syn | ack }));
  t.strictSame(rig.released, [1, 2]);
  rig.both(data(0, 'x'));
  t.strictSame(rig.released, [1, 2, 3]);
  rig.both(data(1, '', { flags: ack | fin }));
  rig.both(pure(501, 2));
  t.strictSame([rig.released.length, rig.reasons], [5, []], 'and closes');
});

test('data in a SYN', async (t) => {
  for (const first of ['P', 'S'] as const) {
    const rig = new CompareRig();
    const mine = tcpPacket({ sequence: isn, flags: syn, payload: 'fast' });
    const theirs = tcpPacket({ sequence: 9, flags: syn, payload: 'fast' });
    if (first === 'S') rig.s(theirs);
    rig.p(mine);
    if (first === 'P') rig.s(theirs);
    t.strictSame([rig.released, rig.reasons], [[1], []], `${first} first`);
    rig.both(data(4, 'er'));
    t.strictSame(rig.released, [1, 2]);
  }
  const rig = new CompareRig();
  rig.s(tcpPacket({ sequence: 9, flags: syn, payload: 'fast' }));
  rig.p(tcpPacket({ sequence: isn, flags: syn, payload: 'fart' }));
  t.match(rig.divergences, [{ reason: 'payload', position: 2 }]);
});

test('what SYNs agree on must be the same', async (t) => {
  const plain = [2, 4, 5, 0xb4];
  const others = [
    [3, 3, 7],
    [4, 2],
    [8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
  ];
  for (const other of others) {
    for (const first of ['P', 'S'] as const) {
      const rig = new CompareRig();
      if (first === 'S') rig.s(tcpPacket({ sequence: 9, flags: syn, options: plain }));
      rig.p(tcpPacket({ sequence: isn, flags: syn, options: [...plain, ...other] }));
      if (first === 'P') rig.s(tcpPacket({ sequence: 9, flags: syn, options: plain }));
      t.strictSame([rig.released, rig.reasons], [[], ['options']]);
    }
    const rig = new CompareRig();
    rig.p(tcpPacket({ sequence: isn, flags: syn, options: [2, 4, 1, 1, ...other] }));
    rig.s(tcpPacket({ sequence: 9, flags: syn, options: [...plain, ...other] }));
    t.strictSame([rig.released, rig.reasons], [[1], []], 'sizes of segments are no matter');
  }
  const scales = new CompareRig();
  scales.p(tcpPacket({ sequence: isn, flags: syn, options: [3, 3, 0] }));
  scales.s(tcpPacket({ sequence: 9, flags: syn }));
  t.strictSame(scales.reasons, ['options'], 'a scale of 0 is one');
});

test('ports are used again', async (t) => {
  for (const first of ['P', 'S'] as const) {
    const rig = opened();
    rig.both(data(0, 'old'));
    rig.both(data(3, '', { flags: ack | fin, acknowledgement: 500 }));
    const mine = tcpPacket({ sequence: 50_000, acknowledgement: 90, flags: syn | ack });
    const theirs = tcpPacket({ sequence: 4, acknowledgement: 90, flags: syn | ack });
    if (first === 'S') rig.s(theirs);
    if (first === 'S') rig.p(data(0, 'old'));
    rig.p(mine);
    if (first === 'P') rig.s(pure(0x7fffffff, 4));
    if (first === 'P') rig.s(theirs);
    rig.p(tcpPacket({ sequence: 50_001, acknowledgement: 91 }));
    rig.both(tcpPacket({ sequence: 50_001, acknowledgement: 90, payload: 'new' }));
    t.equal(rig.released.length, first === 'S' ? 4 : 3, 'an acknowledgement of the old one does not count');
    rig.s(tcpPacket({ sequence: 50_004, acknowledgement: 91 }));
    t.strictSame([rig.released.length, rig.reasons], [first === 'S' ? 6 : 5, []], `${first} first`);
    t.equal(rig.dropped.length, first === 'S' ? 5 : 6, 'of S nothing is kept');
  }
});

test('what S alone said of an earlier connection is none of the one that begins, whoever begins it first', async (t) => {
  // An acknowledgement of the old connection, its end and its reset: the client's new SYN has a lower number.
  const saidBefore: [string, (rig: CompareRig) => void][] = [
    ['an acknowledgement', (rig) => rig.s(pure(100_000, 90_000))],
    ['a FIN', (rig) => rig.s(data(90_000, '', { acknowledgement: 100_000, flags: ack | fin }))],
    ['a RST', (rig) => rig.s(pure(100_000, 90_000, { flags: rst | ack }))],
    ['data', (rig) => rig.s(tcpPacket({ sequence: 77_778 + 2, payload: 'old', acknowledgement: 100_000 }))],
  ];
  for (const [what, say] of saidBefore) {
    for (const first of ['P', 'S'] as const) {
      if (what === 'a RST' && first === 'P') continue;
      const rig = new CompareRig();
      say(rig);
      const mine = tcpPacket({ sequence: isn, acknowledgement: 500, flags: syn | ack });
      if (first === 'P') rig.p(mine);
      rig.s(tcpPacket({ sequence: 77_777, acknowledgement: 500, flags: syn | ack }));
      if (first === 'S') rig.p(mine);
      t.strictSame(rig.released, [1], `${what}, ${first} first`);
      rig.p(pure(99_999));
      t.strictSame([rig.released, rig.reasons], [[1], []], `${what}, ${first} first: P is ahead of S`);
      rig.s(pure(99_999));
      rig.both(data(0, 'hello', { acknowledgement: 99_999 }));
      rig.p(pure(99_999, 5, { flags: rst }));
      t.strictSame([rig.released, rig.reasons], [[1, 2, 3], []], `${what}, ${first} first: S has reset nothing`);
      rig.s(pure(99_999, 5, { flags: rst }));
      t.strictSame([rig.released.length, rig.comparator.sizes.waiting], [4, 0]);
    }
  }
});

test('S answers once more the SYN of the connection before: that is none of the one which P has begun since', async (t) => {
  const rig = opened();
  const mine = tcpPacket({ sequence: 50_000, acknowledgement: -9000, flags: syn | ack });
  rig.p(mine);
  const again = rig.s(tcpPacket({ sequence: 77_777, acknowledgement: 500, flags: syn | ack }));
  t.strictSame([rig.released, rig.dropped], [[], [again]]);
  rig.s(tcpPacket({ sequence: 4, acknowledgement: -9000, flags: syn | ack }));
  t.strictSame(rig.released, [2]);
  rig.p(tcpPacket({ sequence: 50_001, acknowledgement: -8000 }));
  t.strictSame(rig.released, [2], 'and what it acknowledged counts no more');
  rig.s(tcpPacket({ sequence: 50_001, acknowledgement: -8000 }));
  t.strictSame([rig.released, rig.reasons], [[2, 3], []]);
});

test('an acknowledgement of the connection before does not leave while the SYN of the next one waits', async (t) => {
  const rig = new CompareRig();
  rig.s(pure(100_000, 90_000));
  rig.p(tcpPacket({ sequence: isn, flags: syn }));
  rig.p(pure(99_999));
  t.strictSame(rig.released, []);
});

test('what S said after a checkpoint counts, though P began the connection before it and was not looked at', async (t) => {
  const rig = new CompareRig();
  rig.s(data(0, 'more', { acknowledgement: 600 }), { epoch: 1 });
  rig.p(tcpPacket({ sequence: isn, acknowledgement: 500, flags: syn | ack }), { epoch: 0 });
  rig.epoch = 1;
  rig.p(data(0, 'more', { acknowledgement: 600 }));
  t.strictSame([rig.released, rig.reasons], [[2], []]);
});

test('S begins anew more than once before P does', async (t) => {
  const rig = opened();
  rig.both(data(0, 'old'));
  const begin = (sequence: number): number => rig.s(tcpPacket({ sequence, acknowledgement: 90, flags: syn | ack }));
  begin(4);
  begin(4);
  t.strictSame(rig.dropped, [1002, 1004], 'the same again is of no use');
  begin(9);
  t.strictSame(rig.dropped, [1002, 1004, 1003], 'nobody waits for the first one');
  rig.p(tcpPacket({ sequence: 50_000, acknowledgement: 90, flags: syn | ack }));
  t.strictSame(
    [rig.released, rig.dropped],
    [
      [2, 3],
      [1002, 1004, 1003, 1005],
    ],
  );
  rig.both(tcpPacket({ sequence: 50_001, acknowledgement: 90, payload: 'new' }));
  t.strictSame([rig.released.length, rig.reasons], [3, []]);
});

test('a new connection while the one before waits is a divergence', async (t) => {
  const rig = opened();
  rig.p(data(0, 'old'));
  rig.p(tcpPacket({ sequence: 50_000, flags: syn | ack }));
  t.strictSame([rig.released, rig.reasons], [[], ['reuse']]);
  rig.checkpoint();
  rig.both(tcpPacket({ sequence: 50_001, payload: 'new' }));
  t.equal(rig.released.length, 1);
  const ahead = opened();
  ahead.s(data(0, 'old'));
  ahead.p(tcpPacket({ sequence: 50_000, flags: syn | ack }));
  t.strictSame(ahead.reasons, ['reuse']);
});

test('S began a connection that was given up: nothing of it is dropped when P begins others with its ports', async (t) => {
  const rig = new CompareRig();
  rig.s(tcpPacket({ sequence: 77_777, flags: syn, payload: 'b' }));
  rig.now = 10_000;
  rig.comparator.scan(rig.now);
  t.strictSame(rig.reasons, ['timeout']);
  rig.p(tcpPacket({ sequence: 4, flags: rst }));
  rig.p(tcpPacket({ sequence: 50_000, flags: syn }));
  rig.p(tcpPacket({ sequence: 90_000, flags: syn | ack }));
  t.strictSame([rig.dropped, rig.released], [[], []]);
  rig.checkpoint();
  rig.both(tcpPacket({ sequence: 90_001, acknowledgement: 500, payload: 'new' }));
  t.strictSame([rig.released, rig.reasons], [[4], ['timeout']]);
});

test('what S said of a connection that P began before a checkpoint does not outlast the next one', async (t) => {
  const rig = opened();
  rig.checkpoint();
  rig.s(tcpPacket({ sequence: 50_000, acknowledgement: 90, flags: syn | ack }));
  rig.p(tcpPacket({ sequence: 50_000, acknowledgement: 90, flags: syn | ack }), { epoch: 0 });
  rig.checkpoint();
  rig.both(tcpPacket({ sequence: 50_001, acknowledgement: 90, payload: 'new' }));
  t.strictSame([rig.released, rig.dropped], [[3], [1003]]);
});

test('a connection older than the comparison', async (t) => {
  const rig = new CompareRig();
  rig.p(pure(500));
  t.strictSame(rig.released, [], 'nobody knows what S acknowledged');
  rig.s(pure(500));
  rig.both(data(100, 'in the midst'));
  t.strictSame(rig.released, [1, 2]);
  rig.s(data(112, 'S first'));
  rig.p(data(112, 'S first'));
  rig.p(data(104, 'he m'));
  t.strictSame([rig.released, rig.reasons], [[1, 2, 3, 4], []]);
  rig.p(data(99, 'older'));
  t.strictSame([rig.released, rig.reasons], [[1, 2, 3, 4], ['unknown']], 'before what is known');
  rig.checkpoint();
  rig.p(data(90, 'older than the checkpoint'));
  t.strictSame([rig.released, rig.reasons.length], [[1, 2, 3, 4, 6], 1], 'which covers it');
});

test('a survivor whose SYN had its own number goes on in those that its client knows: nothing of it leaves uncompared', async (t) => {
  // The client has acknowledged the dead primary's SYN, whose number was smaller.
  for (const at of [-343_432_149, -2]) {
    const rig = opened();
    rig.s(pure(510, at));
    rig.p(pure(510, at));
    t.strictSame(rig.released, [2], 'of an acknowledgement that both have sent the number is no matter');
    rig.p(data(at, 'hello', { acknowledgement: 510 }));
    t.strictSame(rig.released, [2], 'it is nothing that was compared before');
    t.strictSame(rig.reasons, ['unknown']);
    rig.checkpoint();
    rig.p(data(at + 5, ' world', { acknowledgement: 510 }));
    t.strictSame(rig.released, [2], 'S has to say it');
    rig.s(data(at + 5, ' world', { acknowledgement: 510 }));
    t.strictSame(rig.released, [2, 4]);
    t.equal(rig.divergences.length, 1);
  }
});

test('a connection that went on while nobody compared is as new, and waits for nothing that was said meanwhile', async (t) => {
  const rig = new CompareRig();
  rig.both(data(100, 'compared'));
  rig.checkpoint();
  // Here P says 'buffered' in an epoch that is not compared.
  rig.checkpoint();
  rig.comparator.forget();
  t.equal(rig.comparator.sizes.flows, 0);
  rig.both(data(116, 'compared again'));
  t.strictSame([rig.released, rig.reasons], [[1, 2], []]);
});

test('S is first in a connection older than the comparison', async (t) => {
  const rig = new CompareRig();
  rig.s(data(90, '0123456789in the midst'));
  rig.p(data(100, 'in the'));
  rig.s(data(112, 'more'));
  rig.p(data(106, ' midstmore'));
  t.strictSame([rig.released, rig.reasons], [[1, 2], []]);
  const fresh = new CompareRig();
  fresh.s(tcpPacket({ sequence: 7, acknowledgement: 0x70000000, flags: syn | ack, payload: 'x' }));
  fresh.p(data(0, 'old', { acknowledgement: 0x60000000 }));
  fresh.s(data(0, 'old', { acknowledgement: 0x50000000 }));
  t.strictSame(fresh.released, [], 'a SYN of S is of the next connection');
  t.equal(fresh.comparator.sizes.storedBytes, 0);
  fresh.s(data(3, '', { acknowledgement: 0x60000000 }));
  t.strictSame([fresh.released, fresh.reasons], [[1], []]);
  fresh.p(tcpPacket({ sequence: isn + 5000, acknowledgement: 0x70000000, flags: syn | ack }));
  t.strictSame(fresh.released, [1, 2], 'which P begins now');
});

test('a checkpoint makes what P has said S’s', async (t) => {
  const rig = opened();
  rig.p(data(0, 'held', { acknowledgement: 600 }));
  rig.s(data(0, 'he'));
  rig.p(data(4, '', { flags: ack | fin }));
  rig.checkpoint();
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
  t.strictSame(rig.released, [], 'the gate lets it out');
  rig.p(data(0, 'held', { acknowledgement: 600 }));
  rig.p(data(0, 'held', { flags: ack | fin, acknowledgement: 600 }));
  t.strictSame(rig.released, [4, 5], 'again');
  rig.p(pure(601, 5));
  t.strictSame(rig.released, [4, 5], 'more than before the checkpoint');
  rig.s(pure(601, 5));
  t.strictSame([rig.released, rig.reasons], [[4, 5, 6], []]);
});

test('after a checkpoint a stream goes on where P was', async (t) => {
  const rig = opened();
  rig.p(data(0, 'abc'));
  rig.s(data(0, 'abcdef'));
  rig.checkpoint();
  rig.s(data(0, 'abc'));
  rig.s(data(3, 'DEF'));
  rig.p(data(3, 'DEF'));
  t.strictSame([rig.released, rig.reasons], [[2, 3], []], 'what S had said further is undone');
  rig.checkpoint();
  rig.both(tcpPacket({ sequence: isn, acknowledgement: 500, flags: syn | ack }));
  t.strictSame([rig.released.length, rig.reasons], [3, []], 'S has the number of P then');
});

test('packets of S of another epoch say nothing', async (t) => {
  const rig = opened();
  rig.checkpoint();
  rig.p(data(0, 'x'));
  rig.s(data(0, 'x'), { epoch: 0 });
  t.strictSame([rig.released, rig.comparator.facts.stale], [[], 1]);
  rig.s(data(0, 'x'), { epoch: 1 });
  t.strictSame(rig.released, [2]);
  rig.checkpoint();
  rig.p(data(1, 'a new one'), { epoch: 1 });
  t.strictSame(rig.released, [2], 'of P neither: its checkpoint lets it out');
});

test('S may be told of a checkpoint before P has been looked at', async (t) => {
  const rig = opened();
  rig.both(pure(510));
  rig.p(data(0, 'waits'));
  rig.s(data(9, 'next', { acknowledgement: 520 }), { epoch: 1 });
  t.equal(rig.comparator.epoch, 1);
  rig.p(data(5, 'late', { acknowledgement: 515 }), { epoch: 0 });
  rig.p(data(9, 'next', { acknowledgement: 520 }), { epoch: 1 });
  rig.p(data(5, 'late', { acknowledgement: 515 }), { epoch: 1 });
  t.strictSame([rig.released, rig.reasons], [[2, 5, 6], []]);
});

test('S keeps what it said until that has left with P’s packets', async (t) => {
  const rig = opened();
  rig.p(data(0, 'abcdef', { acknowledgement: 501 }));
  rig.s(data(0, 'abc'));
  rig.s(data(3, 'def', { flags: ack | fin }));
  rig.s(data(3, 'def', { flags: ack | fin }));
  t.strictSame(rig.dropped, [1004], 'the same again is of no use');
  rig.s(pure(501, 7));
  t.strictSame([rig.released, rig.dropped], [[2], [1004, 1005, 1002]], 'the end has not left');
  t.match(rig.comparator.sizes, { storedBytes: 0, waiting: 1 });
  rig.p(data(6, '', { flags: ack | fin }));
  t.strictSame(
    [rig.released, rig.dropped],
    [
      [2, 3],
      [1004, 1005, 1002, 1003],
    ],
  );
  t.equal(rig.comparator.sizes.waiting, 0);
  for (const first of ['P', 'S'] as const) {
    const fresh = new CompareRig();
    const mine = tcpPacket({ sequence: isn, acknowledgement: 501, flags: syn | ack });
    if (first === 'P') fresh.p(mine);
    fresh.s(tcpPacket({ sequence: 0x80000000, acknowledgement: 500, flags: syn | ack }));
    if (first === 'S') fresh.p(mine);
    t.strictSame(fresh.dropped, [], 'the SYN waits for P’s');
    fresh.s(pure(501));
    t.strictSame(fresh.dropped, [1002, 1001]);
  }
  const ended = opened();
  ended.s(data(0, '', { flags: ack | fin }));
  ended.both(pure(500, 0, { flags: rst }));
  t.strictSame(ended.dropped, [1002, 1003], 'nobody waits for the end of what is reset');
  const many = opened(isn, { packetsPerFlow: 3 });
  many.p(data(0, 'abcdef', { acknowledgement: 501 }));
  for (let at = 0; at < 5; at++) many.s(data(at, 'abcdef'[at]));
  t.strictSame([many.dropped, many.reasons], [[1002, 1003], []], 'beyond the bound the oldest go');
  many.checkpoint();
  t.match(many.comparator.sizes, { waiting: 0 });
  t.equal(many.dropped.length, 2, 'the checkpoint undoes the others');
});

test('whatever P said late of an epoch that is over, S said too', async (t) => {
  const rig = new CompareRig();
  rig.s(tcpPacket({ sourcePort: 9 }), { epoch: 1 });
  const opening = tcpPacket({ sequence: isn, acknowledgement: 500, flags: syn | ack });
  rig.p(opening, { epoch: 0 });
  rig.p(data(0, 'bye', { flags: ack | fin }), { epoch: 0 });
  t.strictSame(rig.released, [], 'the checkpoint lets it out');
  rig.epoch = 1;
  rig.p(opening);
  rig.p(data(0, 'bye', { flags: ack | fin }));
  rig.p(pure(500, 4));
  t.strictSame([rig.released, rig.reasons], [[3, 4, 5], []], 'again');
  rig.both(data(0, 'bye', { flags: ack | fin }));
  rig.p(pure(501, 4));
  t.strictSame(rig.released, [3, 4, 5, 6], 'but no more than that');
  const refused = new CompareRig();
  refused.s(tcpPacket({ sourcePort: 9 }), { epoch: 1 });
  refused.p(data(0, '', { flags: rst }), { epoch: 0 });
  refused.p(data(0, '', { flags: rst }), { epoch: 1 });
  t.strictSame(refused.released, [2]);
  const differing = opened();
  differing.p(data(0, 'a'));
  differing.s(data(0, 'b'));
  differing.s(pure(500), { epoch: 1 });
  differing.epoch = 1;
  differing.s(data(1, 'x'));
  differing.p(data(1, 'y'));
  differing.p(data(2, 'late'), { epoch: 0 });
  differing.both(data(6, 'z'));
  t.strictSame([differing.released, differing.reasons], [[], ['payload', 'payload']]);
});

test('a SYN that is both or neither side’s', async (t) => {
  const rig = new CompareRig();
  rig.p(tcpPacket({ sequence: isn, flags: syn, options: [4, 2] }));
  rig.p(tcpPacket({ sequence: isn, flags: syn | ack, options: [4, 2] }));
  t.strictSame(rig.reasons, [], 'S has not opened it yet');
  rig.s(tcpPacket({ sequence: 42, flags: syn | ack, options: [4, 2] }));
  t.strictSame([rig.released, rig.reasons], [[], []], 'the other kind is missing');
  rig.s(tcpPacket({ sequence: 42, flags: syn, options: [4, 2] }));
  t.strictSame([rig.released, rig.reasons], [[1, 2], []]);
  rig.checkpoint();
  rig.p(tcpPacket({ sequence: isn, flags: syn, options: [4, 2] }));
  rig.p(tcpPacket({ sequence: isn, flags: syn | ack, options: [4, 2] }));
  t.strictSame(rig.released, [1, 2, 3, 4], 'a checkpoint keeps both');
  const times = new CompareRig();
  times.p(tcpPacket({ sequence: isn, flags: syn, options: [8, 10, 0, 0, 0, 1, 0, 0, 0, 0] }));
  times.s(tcpPacket({ sequence: isn, flags: syn, options: [8, 10, 0, 0, 0, 9, 0, 0, 0, 0] }));
  t.strictSame(times.released, [1], 'the times themselves are no matter');
});

test('what waits too long wants a checkpoint', async (t) => {
  const rig = opened();
  rig.now = 100;
  rig.p(data(0, 'alone'));
  rig.comparator.scan(3099);
  t.strictSame(rig.reasons, []);
  rig.comparator.scan(3100);
  t.match(rig.divergences, [{ reason: 'timeout', waits: 'primary', primary: Buffer.from('alone') }]);
  rig.comparator.scan(9000);
  t.equal(rig.divergences.length, 1);
  const other = opened();
  other.s(data(0, 'alone'));
  other.comparator.scan(2999);
  t.strictSame(other.reasons, []);
  other.comparator.scan(3000);
  t.match(other.divergences, [{ reason: 'timeout', waits: 'secondary', secondary: Buffer.from('alone') }]);
});

test('a beginning or an end that only S says waits too long as well', async (t) => {
  const ended = opened();
  ended.now = 100;
  ended.s(data(0, '', { flags: fin | ack }));
  ended.comparator.scan(3099);
  t.strictSame(ended.reasons, []);
  ended.comparator.scan(3100);
  t.match(ended.divergences, [{ reason: 'timeout', waits: 'secondary', secondary: Buffer.from('') }]);
  ended.comparator.scan(9000);
  t.equal(ended.divergences.length, 1);
  const begun = new CompareRig();
  begun.s(tcpPacket({ sequence: isn, flags: syn }));
  begun.comparator.scan(2999);
  t.strictSame(begun.reasons, []);
  begun.comparator.scan(3000);
  t.match(begun.divergences, [{ reason: 'timeout', waits: 'secondary' }]);
  const midway = new CompareRig();
  midway.both(pure(600));
  midway.s(data(0, '', { flags: fin | ack }));
  midway.comparator.scan(3000);
  t.match(midway.divergences, [{ reason: 'timeout', waits: 'secondary' }], 'of a connection that was open before');
});

test('what both have said does not wait too long on the side of S', async (t) => {
  const rig = opened();
  rig.s(data(0, 'ab', { acknowledgement: 500 }));
  rig.s(data(2, '', { flags: fin | ack, acknowledgement: 500 }));
  rig.now = 2900;
  // P has got more, which S is about to say.
  rig.p(data(0, 'ab', { acknowledgement: 510, flags: fin | ack }));
  rig.comparator.scan(5899);
  t.strictSame([rig.released, rig.reasons], [[], []]);
  rig.comparator.scan(5900);
  t.match(rig.divergences, [{ reason: 'timeout', waits: 'primary' }]);
});

test('an acknowledgement and SACK blocks that differ: S must have acknowledged as much, what it has out of order is no matter', async (t) => {
  const sack = (from: number, to: number): TcpParts => ({ options: [1, 1, 5, 10, ...long(from), ...long(to)] });
  const rig = opened();
  rig.p(pure(600, 0, sack(700, 800)));
  t.strictSame(rig.released, []);
  rig.s(pure(599, 0, sack(700, 800)));
  t.strictSame(rig.released, [], 'a byte short of it');
  rig.s(pure(600));
  t.strictSame(rig.released, [2], 'and no block');
  rig.s(pure(600, 0, sack(900, 1000)));
  rig.p(pure(600, 0, sack(700, 900)));
  rig.both(data(0, 'x', { acknowledgement: 600, ...sack(700, 900) }));
  t.strictSame([rig.released, rig.reasons], [[2, 3, 4], []]);
});

test('no more waits than there is room for', async (t) => {
  const rig = opened(isn, { packetsPerFlow: 4 });
  for (let at = 0; at < 4; at++) rig.p(data(at, 'x'));
  t.strictSame(rig.reasons, []);
  rig.p(data(4, 'x'));
  t.strictSame(rig.reasons, ['overflow']);
  t.match(rig.comparator.sizes, { waiting: 0 });
  const theirs = opened(isn, { packetsPerFlow: 4 });
  for (let at = 0; at < 4; at++) theirs.s(data(at, 'x'));
  t.strictSame(theirs.reasons, []);
  theirs.s(data(4, 'x'));
  t.strictSame(theirs.reasons, ['overflow']);
  const stored = opened(isn, { storeBytes: 65_536 });
  stored.s(data(0, new Uint8Array(40_000)));
  stored.s(data(40_000, new Uint8Array(40_000)));
  t.strictSame(stored.reasons, ['overflow']);
  stored.checkpoint();
  stored.s(data(0, new Uint8Array(40_000)));
  stored.p(data(0, new Uint8Array(40_000)));
  t.strictSame([stored.released.length, stored.reasons.length], [1, 1], 'all room is free again');
});

test('numbers out of any window are not of the connection', async (t) => {
  const rig = opened();
  rig.s(data(0x40000002, 'far'));
  t.equal(rig.comparator.sizes.storedBytes, 0);
  rig.p(data(0x40000002, 'far'));
  rig.checkpoint();
  rig.both(data(0, 'near'));
  t.strictSame([rig.released, rig.reasons], [[3], []]);
});
