import { test } from 'tap';
import { etherType, ipProtocol } from '../../../../src/colo/packet/wire.ts';
import { CompareRig } from '../../../support/compare-rig.ts';
import { bytesOf, frame, icmpPacket, ipPacket, udpPacket } from '../../../support/packets.ts';

test('datagrams match in any order, each of S lets one of P out', async (t) => {
  const rig = new CompareRig();
  for (const payload of ['one', 'two', 'two', 'six']) rig.p(udpPacket({ payload }));
  t.strictSame(rig.released, []);
  rig.s(udpPacket({ payload: 'six' }));
  rig.s(udpPacket({ payload: 'two' }));
  t.strictSame(rig.released, [4, 2]);
  rig.s(udpPacket({ payload: 'one' }));
  rig.s(udpPacket({ payload: 'new' }));
  t.strictSame(rig.released, [4, 2, 1], 'two waits');
  rig.s(udpPacket({ payload: 'two' }));
  rig.p(udpPacket({ payload: 'new' }));
  t.strictSame(
    [rig.released, rig.dropped],
    [
      [4, 2, 1, 3, 5],
      [1001, 1002, 1003, 1005, 1004],
    ],
  );
  t.match(rig.comparator.sizes, { flows: 1, waiting: 0, storedBytes: 0 });
  t.strictSame(rig.reasons, []);
});

test('S first, of many sizes', async (t) => {
  const rig = new CompareRig({ storeBytes: 4 << 20 });
  const payloads = [0, 1, 127, 128, 256, 257, 2048, 2049, 16_384, 16_385, 60_000].map((length) =>
    new Uint8Array(length).map((_, index) => index * 31 + length),
  );
  for (const payload of payloads) rig.s(udpPacket({ payload }));
  for (const payload of payloads) rig.p(udpPacket({ payload }));
  t.equal(rig.released.length, payloads.length);
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
});

test('a byte that differs does not match, wherever it is', async (t) => {
  for (const length of [1, 3, 40, 200, 1400]) {
    for (const at of [0, Math.floor(length / 2) + (length > 40 ? 1 : 0), length - 1]) {
      const rig = new CompareRig();
      const payload = new Uint8Array(length);
      rig.p(udpPacket({ payload }));
      rig.s(udpPacket({ payload: payload.with(at, 1) }));
      rig.s(udpPacket({ payload: new Uint8Array(length + 1) }));
      t.strictSame(rig.released, [], `byte ${at} of ${length}`);
      rig.s(udpPacket({ payload }));
      t.strictSame(rig.released, [1]);
    }
  }
});

test('connections are apart', async (t) => {
  const rig = new CompareRig();
  rig.p(udpPacket({ payload: 'x', sourcePort: 1 }));
  rig.s(udpPacket({ payload: 'x', sourcePort: 2 }));
  rig.s(udpPacket({ payload: 'x', sourcePort: 1 }), { card: 1 });
  rig.s(udpPacket({ payload: 'x', sourcePort: 1, version: 6 }));
  rig.s(udpPacket({ payload: 'x', sourcePort: 1, tags: [[etherType.vlan, 3]] }));
  t.strictSame(rig.released, []);
  rig.s(udpPacket({ payload: 'x', sourcePort: 1 }));
  t.strictSame(rig.released, [1]);
});

test('headers of IP and checksums are no matter', async (t) => {
  const rig = new CompareRig();
  rig.p(udpPacket({ payload: 'x', id: 1, ttl: 2, ipOptions: [1, 1, 1, 1] }));
  const other = udpPacket({ payload: 'x', id: 3, ttl: 4, padding: 7 });
  other[46 + 6] = 0x77;
  rig.s(other);
  const { routing } = ipProtocol;
  rig.p(udpPacket({ payload: 'x', version: 6, id: 5 }));
  rig.s(udpPacket({ payload: 'x', version: 6, firstExtension: routing, extensions: [17, 0, 0, 0, 0, 0, 0, 0] }));
  t.strictSame(rig.released, [1, 2]);
});

test('ICMP and ICMPv6: all but the checksum', async (t) => {
  for (const version of [4, 6] as const) {
    const echo = (type: number, code: number, ...rest: number[]): Uint8Array =>
      icmpPacket(type, code, rest, { version });
    const rig = new CompareRig();
    const packet = echo(128, 0, 0, 1, 0, 2, 65);
    rig.p(packet);
    for (const other of [
      echo(129, 0, 0, 1, 0, 2, 65),
      echo(128, 1, 0, 1, 0, 2, 65),
      echo(128, 0, 1, 1, 0, 2, 65),
      echo(128, 0, 0, 1, 0, 3, 65),
      echo(128, 0, 0, 1, 0, 2, 66),
      echo(128, 0, 0, 1, 0, 2),
    ]) {
      rig.s(other);
      t.strictSame(rig.released, []);
    }
    const equal = Uint8Array.from(packet);
    const header = version === 4 ? 46 : 66;
    equal[header + 2] = 0x99;
    equal[header + 3] = 0x11;
    rig.s(equal);
    t.strictSame(rig.released, [1]);
  }
});

test('neighbours, listeners and ARP leave as P says them', async (t) => {
  const rig = new CompareRig();
  const packets = [
    frame([1], { type: etherType.arp }),
    frame([1], { type: etherType.rarp }),
    frame([1], { type: 0x88cc }),
    ...[130, 131, 132, 133, 134, 135, 136, 137, 143].map((type) => icmpPacket(type, 0, [0, 0, 0, 0], { version: 6 })),
    ipPacket([0x16, 0, 0, 0], { protocol: ipProtocol.igmp }),
  ];
  for (const packet of packets) rig.p(packet);
  t.equal(rig.released.length, packets.length);
  for (const packet of packets) rig.s(packet);
  t.equal(rig.dropped.length, packets.length);
  t.match(rig.comparator.facts, { passed: packets.length, dropped: packets.length, released: 0 });
  t.equal(rig.comparator.sizes.flows, 0);
  for (const type of [128, 129, 138, 142, 144]) rig.p(icmpPacket(type, 0, [0, 0, 0, 0], { version: 6 }));
  rig.p(icmpPacket(135, 0, [0, 0, 0, 0]));
  rig.p(ipPacket([0x16, 0, 0, 0], { protocol: ipProtocol.igmp, version: 6 }));
  t.equal(rig.released.length, packets.length, 'others wait');
});

test('other protocols and malformed packets: all of it', async (t) => {
  const rig = new CompareRig();
  rig.p(ipPacket(bytesOf('tunnel'), { protocol: 47, id: 4 }));
  rig.s(ipPacket(bytesOf('tunnel'), { protocol: 46 }));
  rig.s(ipPacket(bytesOf('tunnels'), { protocol: 47 }));
  t.strictSame(rig.released, []);
  rig.s(ipPacket(bytesOf('tunnel'), { protocol: 47, id: 5 }));
  t.strictSame(rig.released, [1]);
  const malformed = frame([0x45, 0, 0xff, 0xff, 1, 2, 3]);
  rig.p(malformed);
  rig.s(malformed.with(13, 7));
  rig.s(malformed.with(malformed.length - 1, 7));
  t.strictSame(rig.released, [1]);
  rig.s(malformed.with(11, 7));
  t.strictSame(rig.released, [1, 2], 'but for the header in front of the frame');
});

test('pieces match by what they carry and where it belongs', async (t) => {
  const piece = (payload: string, fragment: number, id: number): Uint8Array =>
    ipPacket(bytesOf(payload), { fragment, id, protocol: ipProtocol.udp });
  const rig = new CompareRig();
  rig.p(piece('first', 0x2000, 7));
  rig.p(piece('last', 0x0001, 7));
  rig.s(piece('first', 0x2001, 900));
  rig.s(piece('first', 0x0000 + 1, 900));
  t.strictSame(rig.released, []);
  rig.s(piece('last', 0x0001, 900));
  rig.s(piece('first', 0x2000, 900));
  t.strictSame(rig.released, [2, 1]);
  t.strictSame(rig.reasons, []);
});

test('pieces of one datagram match pieces of one datagram', async (t) => {
  const piece = (payload: string, fragment: number, id: number): Uint8Array =>
    ipPacket(bytesOf(payload), { fragment, id, protocol: ipProtocol.udp });
  const rig = new CompareRig();
  // P says A+B and C+D; S says A+D and C+B.
  rig.p(piece('A', 0x2000, 1));
  rig.p(piece('B', 0x0001, 1));
  rig.p(piece('C', 0x2000, 2));
  rig.p(piece('D', 0x0001, 2));
  rig.s(piece('A', 0x2000, 50));
  rig.s(piece('D', 0x0001, 50));
  rig.s(piece('C', 0x2000, 60));
  rig.s(piece('B', 0x0001, 60));
  t.strictSame(rig.released, [1, 3]);
  rig.s(piece('B', 0x0001, 50));
  t.strictSame(rig.released, [1, 3, 2]);
  rig.checkpoint();
  rig.p(piece('D', 0x0001, 1));
  rig.s(piece('D', 0x0001, 60));
  t.strictSame(rig.released, [1, 3, 2, 5], 'after a checkpoint S has numbers anew');
  for (let id = 100; id < 116; id++) {
    rig.p(piece('x', 0x2000, id));
    rig.s(piece('x', 0x2000, id + 500));
  }
  rig.s(piece('D', 0x0001, 77));
  rig.p(piece('D', 0x0001, 1));
  t.equal(rig.released.length, 21, 'after many others the first ones are forgotten');
});

test('no more waits than there is room for', async (t) => {
  const rig = new CompareRig({ packetsPerFlow: 3 });
  for (const payload of ['1', '2', '3']) rig.p(udpPacket({ payload }));
  t.strictSame(rig.reasons, []);
  rig.p(udpPacket({ payload: '4' }));
  t.match(rig.divergences, [{ reason: 'overflow', primary: Buffer.from('1'), secondary: Buffer.alloc(0) }]);
  rig.both(udpPacket({ payload: '5' }));
  t.strictSame([rig.released, rig.reasons.length], [[], 1], 'until the checkpoint');
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 }, 'nothing of it is looked at');
  t.strictSame(rig.dropped, [], 'S keeps what did not leave');
  rig.checkpoint();
  rig.both(udpPacket({ payload: '6' }));
  t.strictSame(rig.released, [6]);
  const theirs = new CompareRig({ packetsPerFlow: 3 });
  for (const payload of ['1', '2', '3', '4']) theirs.s(udpPacket({ payload }));
  t.match(theirs.divergences, [{ reason: 'overflow', secondary: Buffer.from('1') }]);
  const stored = new CompareRig({ storeBytes: 65_536 });
  stored.s(udpPacket({ payload: new Uint8Array(40_000) }));
  stored.s(udpPacket({ payload: new Uint8Array(40_001) }));
  t.strictSame(stored.reasons, ['overflow']);
  t.match(stored.comparator.sizes, { waiting: 0, storedBytes: 0 });
});

test('what waits too long wants a checkpoint', async (t) => {
  const rig = new CompareRig();
  rig.p(udpPacket({ payload: 'alone' }));
  rig.comparator.scan(2999);
  t.strictSame(rig.reasons, []);
  rig.comparator.scan(3000);
  t.match(rig.divergences, [{ reason: 'timeout', waits: 'primary', flow: 'udp 192.0.2.1:53 - 198.51.100.7:40112' }]);
  t.match(
    rig.text,
    /udp .*: one guest said something and the other one did not \(the primary waits\): "\[alone\|\(nothing\)\]"/,
  );
});
