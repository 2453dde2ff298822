import { test } from 'tap';
import {
  type Divergence,
  type DivergenceReason,
  divergenceText,
  meaning,
} from '../../../../src/colo/compare/divergence.ts';
import { parseFlowPolicy, policyOfPorts } from '../../../../src/colo/compare/flow-policy.ts';
import { PacketStore, WaitingList } from '../../../../src/colo/compare/packet-store.ts';
import { firstDifference, sameBytes } from '../../../../src/colo/compare/same-bytes.ts';
import { defaultCompareSettings } from '../../../../src/colo/compare/settings.ts';
import { PacketView } from '../../../../src/colo/packet/packet-view.ts';
import { ipProtocol } from '../../../../src/colo/packet/wire.ts';
import { CompareRig } from '../../../support/compare-rig.ts';
import { icmpPacket, ipPacket, tcpPacket, udpPacket } from '../../../support/packets.ts';

test('a connection that nobody has room for waits for the checkpoint', async (t) => {
  const rig = new CompareRig({ flows: 2 });
  rig.p(udpPacket({ sourcePort: 1 }));
  rig.p(udpPacket({ sourcePort: 2 }));
  rig.both(udpPacket({ sourcePort: 3 }));
  t.strictSame(rig.released, []);
  t.match(rig.divergences, [{ reason: 'overflow', flow: 'udp 192.0.2.1:3 - 198.51.100.7:40112' }], 'said once');
  t.strictSame(rig.dropped, [], 'S keeps what did not leave');
  rig.checkpoint();
  rig.both(udpPacket({ sourcePort: 3 }));
  t.strictSame(rig.released, [4]);
  rig.p(udpPacket({ sourcePort: 4 }));
  rig.p(udpPacket({ sourcePort: 5 }));
  rig.p(udpPacket({ sourcePort: 6 }), { epoch: 0 });
  t.equal(rig.divergences.length, 1, 'what is of an epoch that is over needs no room');
  rig.s(udpPacket({ sourcePort: 6 }));
  t.strictSame(rig.reasons, ['overflow', 'overflow']);
});

test('an idle connection is forgotten, and safe when it comes back', async (t) => {
  const rig = new CompareRig({ flows: 2 });
  const packet = (sourcePort: number, sequence: number, payload: string): Uint8Array =>
    tcpPacket({ sourcePort, sequence, payload });
  for (const port of [1, 2, 3]) rig.both(packet(port, 100, 'first'));
  t.equal(rig.released.length, 3);
  rig.p(packet(1, 105, 'again'));
  t.equal(rig.released.length, 3);
  rig.s(packet(1, 105, 'again'));
  t.equal(rig.released.length, 4);
  rig.both(packet(1, 100, 'first'));
  t.strictSame([rig.released.length, rig.reasons], [4, ['unknown']]);
});

test('what is asked for a connection is done', async (t) => {
  const policyOf = policyOfPorts([parseFlowPolicy('port=53,policy=pass'), parseFlowPolicy('port=99,policy=buffer')]);
  const rig = new CompareRig({}, policyOf);
  rig.p(udpPacket({ payload: 'mine' }));
  rig.s(udpPacket({ payload: 'theirs' }));
  t.strictSame([rig.released, rig.dropped, rig.reasons], [[1], [1001], []], 'passes');
  t.match(rig.comparator.facts, { passed: 1 });
  rig.both(udpPacket({ sourcePort: 7, destinationPort: 99, payload: 'same' }));
  rig.both(udpPacket({ sourcePort: 7, destinationPort: 99, payload: 'same' }));
  t.strictSame([rig.released, rig.reasons], [[1], ['buffered']], 'waits for the checkpoint');
  t.strictSame(rig.dropped, [1001], 'and S keeps what it said');
  rig.checkpoint();
  rig.both(udpPacket({ sourcePort: 7, destinationPort: 99, payload: 'same' }));
  t.strictSame([rig.released, rig.reasons], [[1], ['buffered', 'buffered']], 'each time');
  t.match(rig.comparator.facts, { divergences: 0 }, 'nobody disagreed');
  rig.both(tcpPacket({ sourcePort: 98, destinationPort: 98, sequence: 1, payload: 'x' }));
  t.strictSame(rig.released, [1, 5], 'others are compared');
  rig.p(udpPacket({ payload: 'mine' }), { epoch: 0 });
  t.strictSame(rig.released, [1, 5, 6]);
  rig.p(udpPacket({ sourcePort: 99 }), { epoch: 0 });
  rig.p(udpPacket({ sourcePort: 98 }), { epoch: 0 });
  t.equal(rig.reasons.length, 2, 'of an epoch that is over nothing is wanted');
});

test('fragments wait for the checkpoint where output of any port does, and never pass', async (t) => {
  const piece = (protocol: number, fragment: number): Uint8Array =>
    ipPacket([1, 2, 3, 4, 5, 6, 7, 8], { protocol, fragment });
  const [first, last] = [0x2000, 1];
  const rigOf = (...texts: string[]): CompareRig => new CompareRig({}, policyOfPorts(texts.map(parseFlowPolicy)));
  for (const protocol of [ipProtocol.tcp, ipProtocol.udp]) {
    const rig = rigOf('port=80,policy=pass', 'port=5353,policy=buffer');
    rig.p(piece(protocol, first));
    rig.s(piece(protocol, first));
    rig.both(piece(protocol, last));
    t.strictSame([rig.released, rig.reasons], [[], ['buffered']]);
    t.match(rig.comparator.facts, { divergences: 0 }, 'nobody disagreed');
  }
  const others = rigOf('port=5353,policy=buffer');
  others.both(piece(ipProtocol.icmp, first));
  t.strictSame([others.released, others.reasons], [[1], []], 'those of what has no ports are compared');
  const passing = rigOf('port=80,policy=pass');
  passing.p(piece(ipProtocol.udp, first));
  t.strictSame(passing.released, []);
  passing.s(piece(ipProtocol.udp, first));
  t.strictSame([passing.released, passing.reasons], [[1], []]);
});

test('policies are read from text', async (t) => {
  t.strictSame(parseFlowPolicy('port=123,policy=buffer'), { port: 123, policy: 'buffer' });
  t.strictSame(parseFlowPolicy('policy=compare,port=65535'), { port: 65_535, policy: 'compare' });
  for (const [text, why] of [
    ['port=0,policy=pass', /port is a number/],
    ['port=65536,policy=pass', /port is a number/],
    ['port=1.5,policy=pass', /port is a number/],
    ['port=,policy=pass', /port is a number/],
    ['policy=pass', /port is a number/],
    ['port=1', /policy is compare, buffer, pass/],
    ['port=1,policy=never', /--flow port=1,policy=never: policy is/],
    ['port=1,port=2,policy=pass', /port is given twice/],
    ['port=1,policy=pass,x=1', /'x' is neither port nor policy/],
    ['', /'' is neither/],
  ] as const) {
    t.throws(() => parseFlowPolicy(text), why, text);
  }
  const policyOf = policyOfPorts([
    { port: 80, policy: 'pass' },
    { port: 40_112, policy: 'buffer' },
  ]);
  const view = new PacketView();
  const of = (packet: Uint8Array): string => {
    view.read(packet, 0, packet.length);
    return policyOf(view);
  };
  t.equal(of(tcpPacket()), 'pass', 'the first that fits');
  t.equal(of(tcpPacket({ sourcePort: 1 })), 'buffer', 'either end');
  t.equal(of(udpPacket({ sourcePort: 80 })), 'pass');
  t.equal(of(udpPacket({ sourcePort: 1, destinationPort: 2 })), 'compare');
  view.read(tcpPacket(), 0, tcpPacket().length);
  t.equal(of(icmpPacket(8, 0, [0, 0, 0, 0])), 'compare', 'ports of the packet before are no matter');
});

test('an epoch ends once', async (t) => {
  const rig = new CompareRig();
  rig.p(udpPacket({ payload: 'x' }));
  rig.comparator.endEpoch(3);
  t.equal(rig.comparator.epoch, 4);
  rig.epoch = 4;
  rig.p(udpPacket({ payload: 'y' }));
  rig.comparator.endEpoch(3);
  t.equal(rig.comparator.epoch, 4);
  rig.s(udpPacket({ payload: 'y' }));
  t.strictSame(rig.released, [2], 'what waits waits on');
});

test('packets of an epoch to come end this one', async (t) => {
  for (const side of ['p', 's'] as const) {
    const rig = new CompareRig();
    rig.p(udpPacket({ payload: 'x' }));
    rig[side](udpPacket({ payload: 'x' }), { epoch: 1 });
    t.equal(rig.comparator.epoch, 1);
    t.strictSame(rig.released, [], 'and are not compared with it');
    rig[side === 'p' ? 's' : 'p'](udpPacket({ payload: 'x' }), { epoch: 1 });
    t.equal(rig.released.length, 1);
  }
});

test('connections in which something waits are looked at, however they come and go', async (t) => {
  const rig = new CompareRig();
  for (const sourcePort of [1, 2, 3]) rig.p(udpPacket({ sourcePort }));
  t.equal(rig.comparator.sizes.waiting, 3);
  rig.s(udpPacket({ sourcePort: 1 }));
  rig.s(udpPacket({ sourcePort: 3 }));
  rig.s(udpPacket({ sourcePort: 4 }));
  t.equal(rig.comparator.sizes.waiting, 2);
  rig.comparator.scan(3000);
  t.strictSame(rig.divergences.map(({ flow, waits }) => `${flow} ${waits}`).sort(), [
    'udp 192.0.2.1:2 - 198.51.100.7:40112 primary',
    'udp 192.0.2.1:4 - 198.51.100.7:40112 secondary',
  ]);
  t.equal(rig.comparator.sizes.waiting, 0);
  t.match(rig.comparator.facts, { divergences: 2 });
});

test('nothing waits too long for a guest that is not started yet, and from then on as long as ever', async (t) => {
  const rig = new CompareRig();
  rig.checkpoint(false);
  rig.p(udpPacket());
  rig.comparator.scan(9000);
  t.strictSame(rig.reasons, [], 'its checkpoint takes its time');
  rig.comparator.secondaryRuns(10_000);
  rig.comparator.scan(12_999);
  t.strictSame(rig.reasons, []);
  rig.comparator.secondaryRuns(12_999);
  rig.comparator.scan(13_000);
  t.strictSame(rig.reasons, ['timeout']);
});

test('times wrap', async (t) => {
  const rig = new CompareRig();
  rig.now = 2 ** 31 - 1000;
  rig.p(udpPacket());
  rig.comparator.scan(2 ** 31 + 1999.9);
  t.strictSame(rig.reasons, []);
  rig.comparator.scan(2 ** 31 + 2000);
  t.strictSame(rig.reasons, ['timeout']);
});

test('divergences in words', async (t) => {
  const none = new Uint8Array(0);
  const text = (parts: Partial<Divergence>): string =>
    divergenceText({ reason: 'payload', flow: 'tcp a - b', primary: none, secondary: none, ...parts });
  t.equal(
    text({ position: 7, primary: Buffer.from('12:01\n'), secondary: Buffer.from('12:02\x7f') }),
    'tcp a - b, at byte 7: the two guests said different things: "[12:01·|12:02·]"',
  );
  t.equal(text({ primary: Buffer.from(' ~') }), 'tcp a - b: the two guests said different things: "[ ~|(nothing)]"');
  t.equal(
    text({ before: Buffer.of(0x16, 3), primary: Buffer.of(0x41, 0, 0xff), secondary: Buffer.from('ok') }),
    'tcp a - b: the two guests said different things: "16 03[41 00 ff|6f 6b]"',
  );
  t.equal(text({ reason: 'buffered' }), 'tcp a - b: its output waits for a checkpoint, as was asked for');
  const reasons = Object.keys(meaning) as DivergenceReason[];
  t.equal(new Set(reasons.map((reason) => text({ reason }))).size, reasons.length);
});

test('bytes are compared as they lie', async (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(400));
  const plain = new Uint8Array(400);
  for (const length of [0, 1, 63, 64, 65, 300]) {
    for (const at of [0, 1, 62, 63, 64, 150, 299]) {
      shared.fill(7);
      plain.fill(7);
      plain[20 - 1] = 1;
      plain[20 + length] = 2;
      t.ok(sameBytes(shared, 3, plain, 20, length));
      t.equal(firstDifference(shared, 3, plain, 20, length), length);
      if (at >= length) continue;
      plain[20 + at] = 8;
      t.notOk(sameBytes(shared, 3, plain, 20, length), `byte ${at} of ${length}`);
      t.equal(firstDifference(shared, 3, plain, 20, length), at);
    }
  }
});

test('a store gives room until there is none, and all of it back', async (t) => {
  const store = new PacketStore(3 * 65_536 - 5);
  const copies: ReturnType<PacketStore['take']>[] = [];
  const fill = (length: number): number => {
    const bytes = new Uint8Array(length + 4).fill(length);
    let count = 0;
    for (;;) {
      const packet = store.take();
      if (!store.copy(packet, bytes, 4, length)) {
        store.give(packet);
        return count;
      }
      copies.push(packet);
      count++;
    }
  };
  const empty = (): void => {
    for (const packet of copies.splice(0)) store.give(packet);
  };
  for (const [length, count] of [
    [256, 768],
    [257, 96],
    [2048, 96],
    [2049, 12],
    [16_385, 3],
    [65_536, 3],
    [65_537, 0],
  ] as const) {
    t.equal(fill(length), count, `of ${length} bytes`);
    t.equal(new Set(copies.map(({ at }) => at)).size, count, 'apart');
    t.ok(copies.every((copy) => copy.length === length && copy.bytes[copy.at + length - 1] === length % 256));
    t.ok(store.usedBytes >= length * count && store.usedBytes <= 3 * 65_536);
    empty();
    t.equal(store.usedBytes, 0);
  }
  t.equal(fill(100), 768);
  const last = copies.pop();
  if (last !== undefined) store.give(last);
  t.equal(fill(256), 1, 'one goes, one comes');
  t.equal(fill(2000), 0);
});

test('a copy is the same, wherever bytes lie', async (t) => {
  const store = new PacketStore(65_536);
  const buffer = new Uint8Array(new SharedArrayBuffer(613)).map((_, index) => index * 7);
  for (const offset of [0, 1, 2, 3, 5]) {
    for (const at of [0, 1, 2, 3, 6]) {
      for (const length of [0, 1, 2, 3, 4, 5, 7, 8, 63, 300, 602]) {
        const bytes = new Uint8Array(buffer.buffer, offset, 613 - offset);
        const packet = store.take();
        t.ok(store.copy(packet, bytes, at, length));
        t.ok(sameBytes(packet.bytes, packet.at, bytes, at, length), `${length} bytes at ${offset} + ${at}`);
        t.equal(packet.length, length);
        store.give(packet);
      }
    }
  }
  const near = [1, 2].map((value) => {
    const packet = store.take();
    store.copy(packet, new Uint8Array(300).fill(value), 3, 253);
    return packet;
  });
  for (const [index, { bytes, at, length }] of near.entries()) {
    t.ok(
      bytes.subarray(at, at + length).every((byte) => byte === index + 1),
      'neighbours stay as they are',
    );
  }
});

test('a list keeps its order', async (t) => {
  const store = new PacketStore(1);
  const list = new WaitingList();
  const [a, b, c] = [store.take(), store.take(), store.take()];
  for (const packet of [a, b, c]) list.push(packet);
  list.remove(b, a);
  t.strictSame([list.first === a, a.next === c, list.last === c, list.length], [true, true, true, 2]);
  list.remove(c, a);
  t.strictSame([list.last === a, a.next, list.length], [true, undefined, 1]);
  list.remove(a, undefined);
  t.strictSame([list.first, list.last, list.length], [undefined, undefined, 0]);
  list.push(b);
  t.strictSame([list.first === b, b.next], [true, undefined]);
  store.give(c);
  t.equal(store.take(), c, 'objects are used again');
});

test('the bounds of the specification', async (t) => {
  t.match(defaultCompareSettings, { timeoutMs: 3000, packetsPerFlow: 1024 });
});
