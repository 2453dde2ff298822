import { test } from 'tap';
import { complemented, pseudoHeaderSum, summed } from '../../../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { putWord, tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { goesOn } from '../../../../src/colo/translate/translator-state.ts';
import { icmpPacket, long, type TcpParts, tcpPacket, udpPacket } from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';
import { TranslateRig } from '../../../support/translate-rig.ts';

const { syn, ack, fin, rst } = tcpFlag;
/** Initial sequence numbers: of P's guest, of S's, and of the client. All wrap soon. */
const isnP = -5;
const isnS = 0x7fff_fffe;
const isnC = -2;
const timeP = 5000;
const timeS = -3;
const timeC = 70;
const lingerMs = 120_000;
const handshakeMs = 240_000;

const guest = { sourcePort: 80, destinationPort: 40_112 };
const client = {
  source: [198, 51, 100, 7],
  destination: [192, 0, 2, 1],
  sourcePort: 40_112,
  destinationPort: 80,
};

function times(value: number, echo: number): number[] {
  return [1, 1, 8, 10, ...long(value), ...long(echo)];
}

/** From the guest, so many bytes into the numbers of `isn`. */
function fromGuest(isn: number, at: number, parts: TcpParts = {}): Uint8Array {
  return tcpPacket({ ...guest, sequence: (isn + at) | 0, acknowledgement: (isnC + 1) | 0, ...parts });
}

function fromClient(isn: number, at: number, parts: TcpParts = {}): Uint8Array {
  return tcpPacket({ ...client, sequence: (isnC + 1) | 0, acknowledgement: (isn + at) | 0, ...parts });
}

/** S's guest has answered a client's SYN with its own number, and the client P's. */
function opened(rig = new TranslateRig(), parts: TcpParts = {}): TranslateRig {
  rig.out(fromGuest(isnS, 0, { flags: syn | ack, ...parts }));
  rig.in(fromClient(isnP, 1, parts));
  return rig;
}

function openedWithTimes(): TranslateRig {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack, options: times(timeS, timeC) }));
  rig.in(fromClient(isnP, 1, { options: times(timeC, timeP) }));
  return rig;
}

test('a connection that a client opens gets the numbers of P, both ways, from the first answer of the client on', async (t) => {
  const rig = new TranslateRig();
  const answer = fromGuest(isnS, 0, { flags: syn | ack });
  t.same(rig.out(answer), answer, "S's SYN keeps its own number: P's is not known");
  t.same(rig.in(fromClient(isnP, 1)), fromClient(isnS, 1));
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'hello' })), fromGuest(isnP, 1, { payload: 'hello' }));
  t.same(rig.in(fromClient(isnP, 6, { payload: 'and?' })), fromClient(isnS, 6, { payload: 'and?' }));
  t.same(rig.out(answer), fromGuest(isnP, 0, { flags: syn | ack }), 'its SYN sent again is that of P');
  t.same(rig.translator.facts, { translated: 4, withheld: 0 });
});

test('a tag that has a priority and no VLAN makes no other connection: the guest answers without one', async (t) => {
  const tags: TcpParts['tags'] = [[0x8100, 0x6000]];
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
  t.same(rig.in(fromClient(isnP, 1, { tags })), fromClient(isnS, 1, { tags }));
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'hello' })), fromGuest(isnP, 1, { payload: 'hello' }));
});

test('a connection that the guest opens', async (t) => {
  const rig = new TranslateRig();
  const opening = fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 });
  t.same(rig.out(opening), opening);
  const answer = { flags: syn | ack, sequence: isnC };
  t.same(rig.in(fromClient(isnP, 1, answer)), fromClient(isnS, 1, answer));
  t.same(rig.out(fromGuest(isnS, 1)), fromGuest(isnP, 1));
});

test('a connection that the guest opens and is refused', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  const refusal = { flags: rst | ack, sequence: 0 };
  t.same(rig.in(fromClient(isnP, 1, refusal)), fromClient(isnS, 1, refusal));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 0);
});

test('what is no answer to the SYN of a guest that has seen none does not tell numbers', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  const stray = fromClient(12_345, 1);
  t.same(rig.in(stray), stray);
});

test('but after a takeover it is the SYN of P that the other end has', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  rig.translator.takeOver(0);
  t.same(rig.in(fromClient(isnP, 1)), fromClient(isnS, 1));
  const again = { flags: syn, acknowledgement: 0 };
  t.same(rig.out(fromGuest(isnS, 0, again)), fromGuest(isnP, 0, again));
  // Once the guest knows the other end's numbers, they are looked at as before.
  rig.out(fromGuest(isnS, 1));
  const stray = { sequence: (isnC - 7) | 0 };
  t.same(rig.in(fromClient(77, 1, stray)), fromClient(77 - isnP + isnS, 1, stray));
});

test('both ends open at once', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  const theirs = fromClient(0, 0, { flags: syn, sequence: isnC, acknowledgement: 0 });
  t.same(rig.in(theirs), theirs, 'a field that means nothing stays');
  const mine = fromGuest(isnS, 0, { flags: syn | ack });
  t.same(rig.out(mine), mine);
  const answer = { flags: syn | ack, sequence: isnC };
  t.same(rig.in(fromClient(isnP, 1, answer)), fromClient(isnS, 1, answer));
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'x' })), fromGuest(isnP, 1, { payload: 'x' }));
});

test("SACK blocks of the other end are of the guest's numbers, the guest's own are not", async (t) => {
  const rig = opened();
  const blocks = (isn: number): number[] => [
    1,
    5,
    18,
    ...long((isn + 20) | 0),
    ...long((isn + 30) | 0),
    ...long((isn + 40) | 0),
    ...long((isn + 50) | 0),
  ];
  rig.out(fromGuest(isnS, 1, { payload: 'x'.repeat(60) }));
  t.same(rig.in(fromClient(isnP, 10, { options: blocks(isnP) })), fromClient(isnS, 10, { options: blocks(isnS) }));
  const own = { options: blocks(isnC) };
  t.same(rig.out(fromGuest(isnS, 61, own)), fromGuest(isnP, 61, own));
});

test('timestamps of the guest go on from those of P, and echoes come back as its own', async (t) => {
  const rig = openedWithTimes();
  const first = rig.in(fromClient(isnP, 1, { options: times(timeC + 1, timeP) }));
  t.same(first, fromClient(isnS, 1, { options: times(timeC + 1, timeS) }));
  t.same(
    rig.out(fromGuest(isnS, 1, { payload: 'x', options: times(timeS + 9, timeC + 1) })),
    fromGuest(isnP, 1, { payload: 'x', options: times(timeP + 9, timeC + 1) }),
  );
  const none = fromClient(isnP, 2, { options: times(timeC + 2, 0) });
  t.same(rig.in(none), fromClient(isnS, 2, { options: times(timeC + 2, 0) }), 'an echo of nothing stays none');
});

test("a SYN that S's guest had to send again: timestamps are rather ahead of P's than behind", async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack, options: times(timeS, timeC) }));
  rig.out(fromGuest(isnS, 0, { flags: syn | ack, options: times(timeS + 1000, timeC) }));
  rig.in(fromClient(isnP, 1, { options: times(timeC, timeP) }));
  t.same(
    rig.out(fromGuest(isnS, 1, { options: times(timeS + 1001, timeC) })),
    fromGuest(isnP, 1, { options: times(timeP + 1001, timeC) }),
  );
});

test("timestamps of a guest that is behind P's never fall behind what the client echoes", async (t) => {
  const rig = openedWithTimes();
  rig.out(fromGuest(isnS, 1, { payload: 'x', options: times(timeS + 10, timeC) }));
  const echo = rig.in(fromClient(isnP, 2, { options: times(timeC + 90, timeP + 75) }));
  t.same(echo, fromClient(isnS, 2, { options: times(timeC + 90, timeS + 10) }), 'the last one that it sent');
  const late = { payload: 'y', options: times(timeS + 11, timeC) };
  t.same(rig.out(fromGuest(isnS, 2, late)), fromGuest(isnP, 2, { ...late, options: times(timeP + 76, timeC) }));
  // An older echo takes nothing back.
  rig.in(fromClient(isnP, 2, { options: times(timeC + 91, timeP + 20) }));
  t.same(rig.out(fromGuest(isnS, 2, late)), fromGuest(isnP, 2, { ...late, options: times(timeP + 76, timeC) }));
  // Nor does an older timestamp of the guest, of a packet that was overtaken.
  rig.out(fromGuest(isnS, 1, { payload: 'x', options: times(timeS + 5, timeC) }));
  rig.in(fromClient(isnP, 3, { options: times(timeC + 92, timeP + 76) }));
  t.same(rig.out(fromGuest(isnS, 2, late)), fromGuest(isnP, 2, { ...late, options: times(timeP + 76, timeC) }));
});

test('an echo that nobody ever sent moves no timestamps', async (t) => {
  const rig = openedWithTimes();
  rig.in(fromClient(isnP, 1, { options: times(timeC, timeP + (1 << 24)) }));
  const next = { options: times(timeS + 1, timeC) };
  t.same(rig.out(fromGuest(isnS, 1, next)), fromGuest(isnP, 1, { options: times(timeP + 1, timeC) }));
});

test('an echo moves timestamps only in a segment that the guest would take', async (t) => {
  const at = (ahead: number, parts: TcpParts = {}): TcpParts => ({ sequence: (isnC + 1 + ahead) | 0, ...parts });
  const moved = (by: number, parts: TcpParts, acknowledged = 1, segments = 1, scale: number[] = []): number => {
    const rig = new TranslateRig();
    rig.out(fromGuest(isnS, 0, { flags: syn | ack, options: [...times(timeS, timeC), ...scale] }));
    rig.in(fromClient(isnP, 1, { options: times(timeC, timeP) }));
    rig.out(fromGuest(isnS, 1, { payload: 'xy', options: times(timeS, timeC), window: 0xffff }));
    for (let nth = 1; nth <= segments; nth++) {
      rig.in(fromClient(isnP, acknowledged, { options: times(timeC, (timeP + nth * by) | 0), ...parts }));
    }
    const [flow] = rig.translator.save().flows;
    return ((flow?.timeOffset as number) - (timeP - timeS)) | 0;
  };
  t.equal(moved(60_000, at(0)), 60_000, 'what it waits for');
  t.equal(moved(60_000, at(0), 3), 60_000, 'all of it acknowledged');
  t.equal(moved(60_000, at(2 * 0xffff)), 60_000, 'behind a loss');
  t.equal(moved(60_000, at(8 * 0xffff), 1, 1, [3, 3, 2]), 60_000, 'of a window with a scale');
  for (const [parts, acknowledged] of [
    [at(2 * 0xffff + 1), 1],
    [at(-1), 1],
    [at(0x7fff_0000), 1],
    [at(0), 4],
    [at(0), -(2 ** 30)],
    [at(0, { flags: rst | ack }), 1],
    [at(0, { flags: syn | ack }), 1],
  ] as const) {
    t.equal(moved(60_000, parts, acknowledged, 200), 0, `${parts.sequence}, ${acknowledged}, ${parts.flags}`);
  }
  t.equal(moved(8 * 0xffff + 1, at(0), 1, 200), 0, 'nor further than P can be ahead');
});

test('a RST does not say how far its guest has sent, and one SYN without a scale takes that of the other', async (t) => {
  const rig = new TranslateRig();
  const options = [...times(timeS, 0), 3, 3, 7];
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0, options }));
  rig.in(fromClient(isnP, 1, { flags: syn | ack, sequence: isnC, options: times(timeC, timeP) }));
  rig.out(fromGuest(isnS, 1, { window: 500 }));
  rig.out(fromGuest(isnS, 77_777, { flags: rst }));
  const [flow] = rig.translator.save().flows;
  t.match(flow, { sentEnd: (isnS + 1) | 0, window: 500, windowScale: 0 });
});

test('at a takeover timestamps are moved ahead', async (t) => {
  const rig = openedWithTimes();
  rig.translator.takeOver(500);
  t.same(
    rig.out(fromGuest(isnS, 1, { options: times(timeS + 1, timeC) })),
    fromGuest(isnP, 1, { options: times(timeP + 501, timeC) }),
  );
});

test('a connection without timestamps on one side has none to translate', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
  rig.in(fromClient(isnP, 1, { options: times(timeC, timeP) }));
  const options = times(9, 9);
  t.same(rig.out(fromGuest(isnS, 1, { options })), fromGuest(isnP, 1, { options }));
  t.same(rig.in(fromClient(isnP, 1, { options })), fromClient(isnS, 1, { options }));
  const other = new TranslateRig();
  other.out(fromGuest(isnS, 0, { flags: syn | ack, options: times(timeS, 0) }));
  other.in(fromClient(isnP, 1));
  t.same(other.out(fromGuest(isnS, 1, { options })), fromGuest(isnP, 1, { options }));
});

test('both kinds of checksum stay right', async (t) => {
  for (const partialChecksum of [false, true]) {
    for (const version of [4, 6] as const) {
      const rig = new TranslateRig();
      const parts = { version, partialChecksum } as const;
      const from = version === 6 ? { source: tail(7), destination: tail(1) } : {};
      rig.out(fromGuest(isnS, 0, { flags: syn | ack, ...parts }));
      t.same(rig.in(fromClient(isnP, 1, { ...parts, ...from })), fromClient(isnS, 1, { ...parts, ...from }));
      const payload = 'odd';
      t.same(
        rig.out(fromGuest(isnS, 1, { payload, ...parts })),
        fromGuest(isnP, 1, { payload, ...parts }),
        `IPv${version}, ${partialChecksum ? 'partial' : 'whole'}`,
      );
    }
  }
});

test('options at odd places, and whatever numbers: the checksum is right', async (t) => {
  const random = randomNumbers(3);
  const any = (): number => random(2 ** 32) | 0;
  for (let round = 0; round < 300; round++) {
    const [mine, theirs, timeMine, timeTheirs] = [any(), any(), any(), any()];
    const pads = new Array(random(4)).fill(1);
    const options = (value: number, echo: number): number[] => [...pads, 8, 10, ...long(value), ...long(echo)];
    const rig = new TranslateRig();
    rig.out(fromGuest(mine, 0, { flags: syn | ack, options: options(timeMine, 1) }));
    rig.in(fromClient(theirs, 1, { options: options(1, timeTheirs) }));
    const payload = 'x'.repeat(random(20));
    const sent = rig.out(fromGuest(mine, 1, { payload, options: options(timeMine + 1, 1) }));
    t.same(sent, fromGuest(theirs, 1, { payload, options: options(timeTheirs + 1, 1) }));
    const got = rig.in(fromClient(theirs, 1, { payload, options: options(2, timeTheirs) }));
    t.same(got, fromClient(mine, 1, { payload, options: options(2, timeTheirs === 0 ? 0 : timeMine) }));
  }
});

test('a wrong checksum stays wrong', async (t) => {
  const rig = opened();
  const packet = fromGuest(isnS, 1, { payload: 'x' });
  const wanted = fromGuest(isnP, 1, { payload: 'x' });
  // Another payload under the same checksum.
  packet[packet.length - 1] = 'y'.charCodeAt(0);
  wanted[wanted.length - 1] = 'y'.charCodeAt(0);
  t.same(rig.out(packet), wanted);
});

test('a client whose packets are cut to pieces on the way', async (t) => {
  const rig = opened();
  const first = fromClient(isnP, 1, { payload: 'abcd', fragment: 0x2000 });
  const whole = (isn: number): Uint8Array => {
    const packet = fromClient(isn, 1, { payload: 'abcd' });
    packet.set(first.subarray(12 + 14, 12 + 14 + 20), 12 + 14);
    return packet;
  };
  t.same(rig.in(whole(isnP)), whole(isnS));
  const later = fromClient(isnP, 1, { payload: 'abcd', fragment: 3 });
  t.same(rig.in(later), later, 'what has no header has no numbers');
});

test('while only a SYN was sent, the last empty answer tells the numbers: a stray packet does no lasting harm', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack, options: times(timeS, timeC) }));
  rig.in(fromClient(999, 1, { options: times(timeC, 12) }));
  t.same(
    rig.in(fromClient(isnP, 1, { options: times(timeC, timeP) })),
    fromClient(isnS, 1, { options: times(timeC, timeS) }),
  );
  rig.out(fromGuest(isnS, 1, { payload: 'x' }));
  rig.in(fromClient(4444, 1));
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'x' })), fromGuest(isnP, 1, { payload: 'x' }), 'and then no more');
});

test('a guest that has only ended has spoken too', async (t) => {
  const rig = opened();
  rig.out(fromGuest(isnS, 1, { flags: fin | ack }));
  rig.in(fromClient(isnP, 2));
  t.same(rig.out(fromGuest(isnS, 2)), fromGuest(isnP, 2));
});

test('packets outside the window of the SYN tell no numbers', async (t) => {
  for (const [ahead, isOne] of [
    [0, true],
    [0xffff, true],
    [0x1_0000, false],
    [-1, false],
  ] as const) {
    const rig = new TranslateRig();
    rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
    const sequence = (isnC + 1 + ahead) | 0;
    t.same(rig.in(fromClient(isnP, 1, { sequence })), fromClient(isOne ? isnS : isnP, 1, { sequence }), `${ahead}`);
  }
});

/** The client sends 1000 bytes, so far into its upload, and the guest acknowledges them. */
function uploads(rig: TranslateRig, at: number): { got: Uint8Array; wanted: Uint8Array } {
  const piece = { sequence: (isnC + 1 + at) | 0, payload: 'x'.repeat(1000) };
  const got = rig.in(fromClient(isnP, 1, piece));
  rig.out(fromGuest(isnS, 1, { acknowledgement: (isnC + 1 + at + 1000) | 0 }));
  return { got, wanted: fromClient(isnS, 1, piece) };
}

test('an upload is translated however far it gets', async (t) => {
  const rig = opened();
  for (let at = 0; at < 10; at++) {
    const sequence = (isnC + 1 + at * 100_000) | 0;
    t.same(rig.in(fromClient(isnP, 1, { sequence })), fromClient(isnS, 1, { sequence }));
  }
  for (let at = 0; at < 10_000; at += 1000) {
    const { got, wanted } = uploads(rig, at);
    t.same(got, wanted);
  }
});

test("an upload whose guest has said nothing yet: a forged acknowledgement is as wrong for S's guest as for P's", async (t) => {
  for (const isTakenOver of [false, true]) {
    const rig = opened();
    uploads(rig, 0);
    if (isTakenOver) rig.translator.takeOver(0);
    for (let at = 1000; at < 10_000; at += 1000) {
      for (const payload of ['', 'forged']) {
        const forged = { sequence: (isnC + 1 + at) | 0, payload };
        t.same(rig.in(fromClient(777, 1, forged)), fromClient(777 - isnP + isnS, 1, forged));
      }
      const { got, wanted } = uploads(rig, at);
      t.same(got, wanted);
    }
  }
});

test('data at the number that the guest waits for does not move numbers that are known', async (t) => {
  const rig = opened();
  for (const parts of [{ payload: 'forged' }, { flags: fin | ack }, { flags: rst | ack }, { flags: syn | ack }]) {
    t.same(rig.in(fromClient(777, 1, parts)), fromClient(777 - isnP + isnS, 1, parts));
  }
  const ahead = { sequence: (isnC + 2) | 0 };
  t.same(rig.in(fromClient(777, 1, ahead)), fromClient(777 - isnP + isnS, 1, ahead), 'nor what lies ahead of it');
});

test('a takeover fixes numbers that are known, and the first answer those that are not', async (t) => {
  for (const isKnown of [false, true]) {
    const rig = new TranslateRig();
    rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
    if (isKnown) rig.in(fromClient(isnP, 1));
    rig.translator.takeOver(0);
    t.same(rig.in(fromClient(isnP, 1)), fromClient(isnS, 1));
    // So it is with whoever goes on with them.
    for (const one of [rig, rig.next()]) {
      t.same(one.in(fromClient(777, 1)), fromClient(777 - isnP + isnS, 1));
      t.same(one.in(fromClient(isnP, 1)), fromClient(isnS, 1));
    }
  }
});

test('what a guest acknowledges before numbers are known fixes none', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
  const further = (isnC + 6) | 0;
  rig.out(fromGuest(isnS, 1, { acknowledgement: further }));
  t.same(rig.in(fromClient(isnP, 1, { sequence: further })), fromClient(isnS, 1, { sequence: further }));
});

test('a connection that the guest opens has its numbers once it answers the SYN-ACK', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  rig.in(fromClient(isnP, 1, { flags: syn | ack, sequence: isnC }));
  rig.out(fromGuest(isnS, 1));
  for (const parts of [{}, { flags: syn | ack, sequence: isnC }]) {
    t.same(rig.in(fromClient(777, 1, parts)), fromClient(777 - isnP + isnS, 1, parts));
  }
});

test('until then the SYN-ACK tells them, whatever came before it, and after a takeover as well', async (t) => {
  const reset = { flags: rst | ack };
  for (const [isLive, before, after] of [
    [false, reset, {}],
    [true, reset, {}],
    [true, {}, reset],
    [true, {}, {}],
  ] as const) {
    const rig = new TranslateRig();
    rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
    rig.in(fromClient(777, 1, before));
    if (isLive) rig.translator.takeOver(0);
    rig.in(fromClient(777, 1, after));
    t.same(rig.in(fromClient(888, 1)), fromClient(888 - 777 + isnS, 1));
    const answer = { flags: syn | ack, sequence: isnC };
    t.same(rig.in(fromClient(isnP, 1, answer)), fromClient(isnS, 1, answer));
  }
});

test('a SYN-ACK that is not of the SYN which the guest has answered tells no numbers', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
  const stray = { flags: syn | ack, sequence: (isnC - 1) | 0 };
  t.same(rig.in(fromClient(777, 1, stray)), fromClient(777, 1, stray));
});

test('RST without an acknowledgement has none to translate', async (t) => {
  const rig = opened();
  const reset = fromClient(5, 0, { flags: rst });
  t.same(rig.in(reset), reset);
});

test('what says something in numbers that are not known yet is withheld', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
  t.equal(rig.out(fromGuest(isnS, 1, { payload: 'early' })), 'withheld');
  t.equal(rig.out(fromGuest(isnS, 1, { flags: fin | ack })), 'withheld');
  t.same(rig.out(fromGuest(isnS, 1)), fromGuest(isnS, 1), 'an acknowledgement alone says nothing in them');
  t.same(rig.out(fromGuest(isnS, 1, { flags: rst })), fromGuest(isnS, 1, { flags: rst }));
  t.equal(rig.translator.facts.withheld, 2);
});

test('a SYN with data is withheld: what its answer acknowledges does not tell the number', async (t) => {
  const rig = new TranslateRig();
  t.equal(rig.out(fromGuest(isnS, 0, { flags: syn, payload: 'early' })), 'withheld');
  t.equal(rig.translator.size, 0);
});

test('after a takeover nothing is withheld', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
  rig.translator.takeOver(0);
  const early = fromGuest(isnS, 1, { payload: 'early' });
  t.same(rig.out(early), early);
  const open = tcpPacket({ flags: syn, payload: 'early', sourcePort: 7 });
  t.same(rig.out(open), open);
});

test('a handshake that a takeover finds half done gets whatever number the client knows', async (t) => {
  const rig = new TranslateRig();
  const answer = fromGuest(isnS, 0, { flags: syn | ack });
  rig.out(answer);
  rig.translator.takeOver(0);
  t.same(rig.out(answer), answer);
  t.same(rig.in(fromClient(isnP, 1)), fromClient(isnS, 1), 'the client got that of P');
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'x' })), fromGuest(isnP, 1, { payload: 'x' }));
});

test('a checkpoint ends translation', async (t) => {
  const rig = opened();
  rig.translator.checkpoint(0);
  t.equal(rig.translator.size, 0);
  const packet = fromGuest(isnP, 1, { payload: 'x' });
  t.same(rig.out(packet), packet);
  t.same(rig.in(fromClient(isnP, 2)), fromClient(isnP, 2));
  // One that P had half opened: its SYN has P's number now.
  const answer = fromGuest(isnP, 0, { flags: syn | ack });
  rig.translator.checkpoint(0);
  t.same(rig.out(answer), answer);
  t.same(rig.in(fromClient(isnP, 1)), fromClient(isnP, 1));
  t.same(rig.out(packet), packet);
});

test('after a takeover open connections go on, new ones are not translated', async (t) => {
  const rig = opened();
  rig.translator.takeOver(0);
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'x' })), fromGuest(isnP, 1, { payload: 'x' }));
  t.same(rig.in(fromClient(isnP, 2)), fromClient(isnS, 2));
  const other = tcpPacket({ ...guest, destinationPort: 9, sequence: 4, flags: syn | ack });
  t.same(rig.out(other), other);
  t.equal(rig.translator.size, 1);
});

test('ports that are used again after a takeover are of a connection that is not translated', async (t) => {
  const rig = opened();
  rig.translator.takeOver(0);
  const answer = fromGuest(31, 0, { flags: syn | ack });
  t.same(rig.out(answer), answer);
  t.equal(rig.translator.size, 0);
  t.same(rig.in(fromClient(31, 1)), fromClient(31, 1));
  t.same(rig.out(fromGuest(31, 1)), fromGuest(31, 1));
});

test('ports that are used again have numbers of their own', async (t) => {
  const rig = openedWithTimes();
  rig.out(fromGuest(isnS, 1, { flags: fin | ack }));
  rig.in(fromClient(isnP, 2, { flags: fin | ack }));
  rig.out(fromGuest(isnS, 2, { acknowledgement: (isnC + 2) | 0 }));
  const answer = fromGuest(100, 0, { flags: syn | ack, acknowledgement: 8001 });
  t.same(rig.out(answer), answer);
  t.same(rig.in(fromClient(900, 1, { sequence: 8001 })), fromClient(100, 1, { sequence: 8001 }));
  const data = { payload: 'x', acknowledgement: 8001, options: times(9, 9) };
  t.same(rig.out(fromGuest(100, 1, data)), fromGuest(900, 1, data));
  t.same(rig.in(fromClient(900, 2, { sequence: 8001 })), fromClient(100, 2, { sequence: 8001 }));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 1, 'the end of the one before is not its end');
});

test('a connection is forgotten when both ends have ended, and were silent for a while', async (t) => {
  const rig = opened();
  rig.translator.takeOver(0);
  const steps = [
    () => rig.out(fromGuest(isnS, 1, { flags: fin | ack, payload: 'x' })),
    () => rig.in(fromClient(isnP, 2)),
    () => rig.in(fromClient(isnP, 3)),
    () => rig.in(fromClient(isnP, 3, { flags: fin | ack, payload: 'end' })),
    () => rig.out(fromGuest(isnS, 3, { acknowledgement: (isnC + 4) | 0 })),
  ];
  for (const step of steps) {
    step();
    rig.now += lingerMs;
    rig.translator.scan(rig.now);
    t.equal(rig.translator.size, 1);
  }
  rig.out(fromGuest(isnS, 3, { acknowledgement: (isnC + 5) | 0 }));
  rig.now += lingerMs - 1;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 1, 'the client may ask for the last acknowledgement again');
  const again = { flags: fin | ack, payload: 'end' };
  t.same(rig.in(fromClient(isnP, 3, again)), fromClient(isnS, 3, again));
  rig.now += lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 0);
});

test('a reset closes a connection, whoever sends it, if the guest believes it', async (t) => {
  const isClosedBy = (...steps: ((rig: TranslateRig) => unknown)[]): boolean => {
    const rig = opened();
    for (const step of steps) step(rig);
    rig.now += lingerMs;
    rig.translator.scan(rig.now);
    return rig.translator.size === 0;
  };
  const reset = (at: number) => (rig: TranslateRig) =>
    rig.in(fromClient(isnP, 1, { flags: rst, sequence: (isnC + 1 + at) | 0 }));
  t.ok(isClosedBy((rig) => rig.out(fromGuest(isnS, 1, { flags: rst | ack }))));
  t.ok(isClosedBy(reset(0)));
  t.notOk(isClosedBy(reset(-1)), 'before what the guest waits for');
  t.notOk(isClosedBy(reset(1)), 'in its window: the guest asks whether it is one (RFC 5961)');
  t.notOk(
    isClosedBy(reset(0), (rig) => rig.out(fromGuest(isnS, 1))),
    'the guest answers that it goes on',
  );
  t.notOk(
    isClosedBy(reset(0), (rig) => rig.out(fromGuest(isnS, 1, { payload: 'x' }))),
    'nor was it one',
  );
});

test('forged ends do not close a connection that goes on', async (t) => {
  const isClosedBy = (...forged: Uint8Array[]): boolean => {
    const rig = opened();
    rig.out(fromGuest(isnS, 1, { flags: fin | ack }));
    for (const packet of forged) rig.in(packet);
    rig.in(fromClient(isnP, 2));
    // The client goes on with its upload.
    rig.in(fromClient(isnP, 2, { payload: 'x'.repeat(100) }));
    rig.out(fromGuest(isnS, 2, { acknowledgement: (isnC + 101) | 0 }));
    rig.now += lingerMs;
    rig.translator.scan(rig.now);
    return rig.translator.size === 0;
  };
  const end = (at: number, payload = ''): Uint8Array =>
    fromClient(isnP, 2, { flags: fin | ack, sequence: (isnC + 1 + at) | 0, payload });
  t.ok(isClosedBy(end(0, 'x'.repeat(99))), 'this is what a right one does');
  t.notOk(isClosedBy(end(-1000)), 'a FIN behind what the guest has got');
  t.notOk(isClosedBy(end(50)), 'a FIN in the midst of what it gets');
  t.notOk(isClosedBy(end((1 << 30) + 1)), 'a FIN beyond any window');
  t.ok(isClosedBy(end(0, 'x'.repeat(99)), end(-1000), end((1 << 30) + 1)), 'nor do they hide the right one');
});

test('a FIN that comes before the guest has answered the SYN-ACK', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  const first = -70_000;
  rig.in(fromClient(isnP, 1, { flags: syn | ack, sequence: first }));
  rig.in(fromClient(isnP, 1, { flags: fin | ack, sequence: first + 1 }));
  rig.out(fromGuest(isnS, 1, { flags: fin | ack, acknowledgement: first + 2 }));
  rig.in(fromClient(isnP, 2, { sequence: first + 2 }));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 0);
});

test('a FIN that is forged after the end does not hide the end', async (t) => {
  const rig = opened();
  rig.in(fromClient(isnP, 1, { flags: fin | ack }));
  rig.out(fromGuest(isnS, 1, { flags: fin | ack, acknowledgement: (isnC + 2) | 0 }));
  rig.in(fromClient(isnP, 1, { flags: fin | ack, sequence: (isnC + 700) | 0 }));
  rig.out(fromGuest(isnS, 2, { acknowledgement: (isnC + 2) | 0 }));
  rig.in(fromClient(isnP, 2, { sequence: (isnC + 2) | 0 }));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 0);
});

test('an acknowledgement of what lies behind the end of the guest is not one of its end', async (t) => {
  const rig = opened();
  rig.in(fromClient(isnP, 1, { flags: fin | ack }));
  rig.out(fromGuest(isnS, 1, { flags: fin | ack, acknowledgement: (isnC + 2) | 0 }));
  rig.in(fromClient(isnP, 1000));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 1);
});

test('a RST without an acknowledgement does not answer a SYN', async (t) => {
  const rig = new TranslateRig();
  rig.out(fromGuest(isnS, 0, { flags: syn, acknowledgement: 0 }));
  rig.in(fromClient(isnP, 1, { flags: rst, sequence: 0 }));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 1);
});

test('what a RST acknowledges does not move what the guest waits for', async (t) => {
  const rig = opened();
  rig.out(fromGuest(isnS, 1, { flags: rst | ack, acknowledgement: 77 }));
  rig.out(fromGuest(isnS, 1, { flags: tcpFlag.psh, acknowledgement: 78 }));
  rig.in(fromClient(isnP, 1, { flags: rst }));
  rig.now = lingerMs;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 0);
});

test('a connection that nobody closed is forgotten after days of silence', async (t) => {
  const rig = opened();
  const days = 5 * 24 * 3_600_000;
  rig.translator.scan(days - 1);
  t.equal(rig.translator.size, 1);
  rig.translator.scan(days);
  t.equal(rig.translator.size, 0);
});

test('a connection whose end nobody acknowledges is forgotten when no guest says that end again', async (t) => {
  const rig = opened();
  rig.out(fromGuest(isnS, 1, { flags: fin | ack }));
  rig.translator.takeOver(0);
  t.ok(rig.translator.save().flows.every(goesOn), 'until then it goes on');
  rig.now += handshakeMs - 1;
  rig.translator.scan(rig.now);
  t.equal(rig.translator.size, 1);
  rig.translator.scan(rig.now + 1);
  t.equal(rig.translator.size, 0);
});

test('a connection that nobody answered is forgotten when no end can still be waiting for an answer', async (t) => {
  for (const isLive of [false, true]) {
    const rig = new TranslateRig();
    rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
    if (isLive) rig.translator.takeOver(0);
    // An answer that tells no numbers keeps nobody.
    rig.in(fromClient(isnP, 1, { sequence: (isnC + 9) | 0, flags: tcpFlag.psh }));
    rig.now += handshakeMs - 1;
    rig.translator.scan(rig.now);
    t.equal(rig.translator.size, 1);
    rig.out(fromGuest(isnS, 0, { flags: syn | ack }));
    rig.now += handshakeMs - 1;
    rig.translator.scan(rig.now);
    t.equal(rig.translator.size, 1, 'the guest asks once more');
    rig.translator.scan(rig.now + 1);
    t.equal(rig.translator.size, 0);
  }
});

test('a clock of 32 bits may wrap', async (t) => {
  const rig = new TranslateRig();
  rig.now = 2 ** 31 - 1;
  opened(rig);
  rig.in(fromClient(isnP, 1, { flags: rst }));
  rig.translator.scan(2 ** 31 + 5);
  t.equal(rig.translator.size, 1);
  rig.translator.scan(2 ** 31 - 1 + lingerMs);
  t.equal(rig.translator.size, 0);
});

test('with no room for a connection, its SYN is withheld; one that has closed makes room', async (t) => {
  const rig = new TranslateRig({ flows: 2 });
  const answerOf = (port: number): Uint8Array =>
    tcpPacket({ ...guest, destinationPort: port, flags: syn | ack, sequence: port });
  rig.out(answerOf(1));
  rig.out(answerOf(2));
  t.equal(rig.out(answerOf(3)), 'withheld');
  t.equal(rig.translator.facts.withheld, 1);
  const data = tcpPacket({ ...guest, destinationPort: 3, payload: 'x' });
  t.same(rig.out(data), data, 'what it says then is compared as it is, and differs');
  rig.out(tcpPacket({ ...guest, destinationPort: 2, flags: rst }));
  t.same(rig.out(answerOf(3)), answerOf(3));
  t.equal(rig.translator.size, 2);
});

/** All that there is room for, and how each packet of a connection looks in them. */
function filled(open: number, of: (rig: TranslateRig, port: number) => void) {
  const flows = 16_384;
  const rig = new TranslateRig();
  const says = (port: number, parts: TcpParts = {}) =>
    rig.out(fromGuest(isnS, 0, { destinationPort: port, flags: syn | ack, ...parts }));
  const hears = (port: number, parts: TcpParts = {}) => rig.in(fromClient(isnP, 1, { sourcePort: port, ...parts }));
  for (let port = 1; port <= flows; port++) {
    says(port);
    hears(port);
    if (port > open) of(rig, port);
  }
  return { rig, flows, says, hears };
}

test('one that has closed makes room, however many idle ones are older, and the one that closed first goes first', async (t) => {
  const idle = 1000;
  const { rig, flows, says, hears } = filled(idle, (it, port) =>
    it.in(fromClient(isnP, 1, { sourcePort: port, flags: rst })),
  );
  t.equal(rig.translator.size, flows);
  // The first that closed is one that says its end again; it is the last one now.
  hears(idle + 1, { flags: rst });
  // Another one is not closed after all.
  says(idle + 2, { sequence: (isnS + 1) | 0, flags: ack });
  for (let port = flows + 1; port <= 2 * flows - idle - 1; port++) {
    if (says(port) === 'withheld') t.fail(`port ${port} is withheld`);
  }
  t.equal(rig.translator.size, flows);
  t.equal(says(2 * flows), 'withheld', 'all that are left are open');
  t.equal(rig.translator.facts.withheld, 1);
  for (const port of [1, 2, idle, idle + 2]) {
    const data = { destinationPort: port, payload: 'x' };
    t.same(rig.out(fromGuest(isnS, 1, data)), fromGuest(isnP, 1, data), `${port} is still translated`);
  }
  const gone = { destinationPort: idle + 1, payload: 'x' };
  t.same(rig.out(fromGuest(isnS, 1, gone)), fromGuest(isnS, 1, gone));
});

test('those that closed before a takeover of before make room as well', async (t) => {
  const { rig, flows } = filled(0, (it, port) => it.in(fromClient(isnP, 1, { sourcePort: port, flags: rst })));
  const next = rig.next();
  t.equal(next.translator.size, flows);
  const packet = tcpPacket({ ...guest, destinationPort: 30_000, flags: syn | ack });
  t.same(next.out(packet), packet);
  t.equal(next.translator.size, flows);
});

test('connections of two cards are two', async (t) => {
  const rig = opened();
  const packet = fromGuest(isnS, 1, { payload: 'x' });
  t.same(rig.out(packet, 1), packet);
  t.same(rig.in(fromClient(isnP, 1), 1), fromClient(isnP, 1));
});

test('whatever is not TCP, or malformed, stays as it is', async (t) => {
  const rig = opened();
  const datagram = udpPacket({ sourcePort: 80, destinationPort: 40_112, payload: 'x' });
  t.same(rig.out(datagram), datagram);
  const incoming = udpPacket({ ...client, payload: 'x' });
  t.same(rig.in(incoming), incoming);
  const cut = fromGuest(isnS, 1).subarray(0, 50);
  t.same(rig.out(cut), cut);
  t.same(rig.in(cut), cut);
  const random = randomNumbers(1);
  for (let round = 0; round < 500; round++) {
    const packet = random(2) === 0 ? fromGuest(isnS, 1, { options: times(1, 2) }) : fromClient(isnP, 1);
    const broken = packet.slice(0, random(packet.length + 1));
    for (let flips = random(6); flips > 0 && broken.length > 0; flips--) broken[random(broken.length)] = random(256);
    t.equal(rig.in(broken).length, broken.length);
    t.not(rig.out(broken), undefined);
  }
});

/** An ICMP error that the guest gets, about a packet of its own in the numbers of `isn`, of which so many bytes are quoted. */
function errorAbout(isn: number, { type = 3, code = 4, bytes = 28, ...parts }: TcpParts & ErrorParts = {}): Uint8Array {
  const { version = 4 } = parts;
  const about = fromGuest(isn, 1, { payload: 'x'.repeat(100), ...parts });
  const quoted = about.subarray(12 + 14, 12 + 14 + bytes);
  const ends = version === 4 ? { source: client.source } : { source: tail(9) };
  const error = icmpPacket(type, code, [0, 0, 5, 0, ...quoted], {
    version,
    destination: addressOf(about, version),
    ...ends,
  });
  const view = new PacketView();
  const kind = view.read(error, 0, error.length);
  putWord(error, view.checksum, 0);
  const pseudo = kind === packetKind.icmp6 ? pseudoHeaderSum(view) : 0;
  putWord(error, view.checksum, complemented(summed(error, view.transport, view.ip.end, pseudo)));
  return error;
}

interface ErrorParts {
  readonly type?: number;
  readonly code?: number;
  readonly bytes?: number;
}

function addressOf(packet: Uint8Array, version: 4 | 6): number[] {
  const [at, length] = version === 4 ? [12, 4] : [8, 16];
  return [...packet.subarray(12 + 14 + at, 12 + 14 + at + length)];
}

test('ICMP errors quote a number that the guest has sent, whatever is quoted behind it', async (t) => {
  for (const [version, type, code, all] of [
    [4, 3, 4, 140],
    [4, 11, 0, 140],
    [6, 2, 0, 160],
    [6, 1, 4, 160],
  ] as const) {
    const rig = new TranslateRig();
    const from = version === 6 ? { source: tail(7), destination: tail(1) } : {};
    rig.out(fromGuest(isnS, 0, { version, flags: syn | ack }));
    rig.in(fromClient(isnP, 1, { version, ...from }));
    // Wholly, or no more than what every router must quote.
    for (const bytes of [all, version === 4 ? 28 : 48]) {
      const error = (isn: number): Uint8Array => errorAbout(isn, { version, type, code, bytes });
      const got = rig.in(error(isnP));
      const wanted = error(isnS);
      // The checksum of the quoted packet is the one that the router saw.
      if (bytes === all) t.not(Buffer.compare(got, error(isnP)), 0);
      else t.same(got, wanted, `IPv${version}, type ${type}`);
      t.ok(hasRightIcmpChecksum(got));
    }
    t.equal(rig.translator.facts.translated, 3);
  }
});

function hasRightIcmpChecksum(packet: Uint8Array): boolean {
  const view = new PacketView();
  const kind = view.read(packet, 0, packet.length);
  const pseudo = kind === packetKind.icmp6 ? pseudoHeaderSum(view) : 0;
  return complemented(summed(packet, view.transport, view.ip.end, pseudo)) === 0;
}

test('ICMP that quotes nothing of a translated connection stays as it is', async (t) => {
  const rig = opened();
  const half = new TranslateRig();
  half.out(fromGuest(isnS, 0, { flags: syn | ack }));
  t.same(half.in(errorAbout(isnP)), errorAbout(isnP), 'nor one whose numbers are not known');
  const six = opened(new TranslateRig(), { version: 6 });
  for (const other of [
    errorAbout(isnP, { type: 8, code: 0 }),
    errorAbout(isnP, { bytes: 27 }),
    errorAbout(isnP, { bytes: 19 }),
    errorAbout(isnP, { sourcePort: 81 }),
    errorAbout(isnP, { destinationPort: 81 }),
    errorAbout(isnP, { destination: [198, 51, 100, 8] }),
    errorAbout(isnP, { fragment: 1 }),
    errorAbout(isnP, { protocol: 17 }),
    errorAbout(isnP, { version: 6, type: 2, bytes: 47 }),
    errorAbout(isnP, { version: 6, type: 128, bytes: 60 }),
    errorAbout(isnP, { version: 6, type: 5, bytes: 60 }),
    errorAbout(isnP, { version: 6, type: 2, bytes: 60, protocol: 17 }),
  ]) {
    t.same(rig.in(other), other);
    t.same(six.in(other), other);
  }
  for (const place of [0, 1]) {
    const broken = errorAbout(isnP);
    broken[12 + 14 + 20 + 8] = [0x65, 0x44][place] as number;
    t.same(rig.in(broken), broken, 'what it quotes is no IP');
  }
  t.same(rig.in(errorAbout(isnP), 1), errorAbout(isnP), 'another card');
});

test('frames without a virtio-net header', async (t) => {
  const rig = new TranslateRig({}, 0);
  const parts = { header: 'none' } as const;
  opened(rig, parts);
  t.same(rig.out(fromGuest(isnS, 1, { payload: 'x', ...parts })), fromGuest(isnP, 1, { payload: 'x', ...parts }));
});

test("a survivor's next standby translates as it does", async (t) => {
  const survivor = openedWithTimes();
  survivor.translator.takeOver(3);
  survivor.out(fromGuest(isnS, 1, { payload: 'x', flags: fin | ack }));
  const standby = survivor.next();
  const rest = (rig: TranslateRig): unknown[] => [
    rig.in(fromClient(isnP, 3, { options: times(timeC, timeP + 4) })),
    rig.out(fromGuest(isnS, 3, { options: times(timeS + 8, timeC) })),
    rig.in(fromClient(isnP, 3, { flags: fin | ack })),
    rig.out(fromGuest(isnS, 3, { acknowledgement: (isnC + 2) | 0 })),
    rig.translator.scan(lingerMs - 1),
    rig.translator.size,
    rig.translator.scan(lingerMs),
    rig.translator.size,
  ];
  t.same(rest(standby), rest(survivor));
  t.same(survivor.next().next().translator.save(), survivor.translator.save());
});

test('and forgets as soon as it does one that was reset, and one that nobody answered', async (t) => {
  const closed = opened();
  closed.in(fromClient(isnP, 1, { flags: rst }));
  const half = new TranslateRig();
  half.out(fromGuest(isnS, 0, { flags: syn | ack }));
  for (const [rig, afterMs] of [
    [closed, lingerMs],
    [half, handshakeMs],
  ] as const) {
    const next = rig.next().next();
    next.translator.takeOver(0);
    next.translator.scan(afterMs - 1);
    t.equal(next.translator.size, 1);
    next.translator.scan(afterMs);
    t.equal(next.translator.size, 0);
  }
});

test('a checkpoint with the same connection twice has it once', async (t) => {
  const { flows } = opened().translator.save();
  t.equal(new TranslateRig().next({ flows: [...flows, ...flows] }).translator.size, 1);
});

function tail(last: number): number[] {
  return [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), last];
}
