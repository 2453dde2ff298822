import { test } from 'tap';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { etherType, ipProtocol, tcpFlag } from '../../../../src/colo/packet/wire.ts';
import {
  bytesOf,
  frame,
  icmpPacket,
  ipPacket,
  long,
  tcpPacket,
  udpPacket,
  virtioHeader,
  word,
} from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';

function viewOf(packet: Uint8Array, headerBytes: 0 | 12 = 12): PacketView {
  // It lies between others, which must not be read.
  const around = new Uint8Array(packet.length + 64).fill(0xee);
  around.set(packet, 32);
  const view = new PacketView(headerBytes);
  view.read(around, 32, packet.length);
  return view;
}

const kindOf = (packet: Uint8Array): number => viewOf(packet).kind;
const payloadOf = ({ bytes, payload, payloadBytes }: PacketView): string =>
  Buffer.from(bytes.subarray(payload, payload + payloadBytes)).toString();

test('a TCP segment', async (t) => {
  const view = viewOf(
    tcpPacket({
      sequence: 0x89abcdef,
      acknowledgement: 0xfedcba98,
      flags: tcpFlag.ack | tcpFlag.psh,
      payload: 'hello',
    }),
  );
  t.equal(view.kind, packetKind.tcp);
  t.strictSame([view.sourcePort, view.destinationPort, view.window], [80, 40_112, 501]);
  t.strictSame([view.sequence, view.acknowledgement], [0x89abcdef | 0, 0xfedcba98 | 0], 'signed');
  t.equal(view.tcpFlags, tcpFlag.ack | tcpFlag.psh);
  t.equal(payloadOf(view), 'hello');
  t.equal(view.etherType, etherType.ipv4);
  t.strictSame([view.ethernet, view.ip.at, view.transport], [32 + 12, 32 + 26, 32 + 46]);
  t.equal(view.checksum, view.transport + 16);
  t.equal(view.frameBytes, 14 + 20 + 20 + 5);
});

test('frames without a virtio-net header', async (t) => {
  const view = viewOf(tcpPacket({ header: 'none', payload: 'hello' }), 0);
  t.equal(view.kind, packetKind.tcp);
  t.equal(view.ethernet, 32);
  t.equal(payloadOf(view), 'hello');
});

test('padding belongs to no payload', async (t) => {
  t.equal(payloadOf(viewOf(tcpPacket({ payload: 'a', padding: 9 }))), 'a');
  t.equal(payloadOf(viewOf(tcpPacket({ payload: 'a', version: 6, padding: 9 }))), 'a');
  t.equal(payloadOf(viewOf(udpPacket({ payload: 'a', padding: 9 }))), 'a');
});

test('VLAN tags', async (t) => {
  t.equal(viewOf(tcpPacket()).vlans, 0xffffff);
  const one = viewOf(tcpPacket({ tags: [[etherType.vlan, 0x6123]], payload: 'x' }));
  t.strictSame([one.kind, one.vlans, payloadOf(one)], [packetKind.tcp, 0xfff123, 'x'], 'priority is no part of it');
  const two = viewOf(
    tcpPacket({
      tags: [
        [etherType.serviceVlan, 0x456],
        [etherType.vlan, 0x123],
      ],
    }),
  );
  t.strictSame([two.kind, two.vlans], [packetKind.tcp, 0x456123]);
  const tag = [etherType.oldServiceVlan, 7] as const;
  t.equal(kindOf(tcpPacket({ tags: [tag, tag, tag, tag] })), packetKind.tcp);
  t.equal(kindOf(tcpPacket({ tags: [tag, tag, tag, tag, tag] })), packetKind.opaque, 'nobody has so many');
  t.equal(kindOf(frame([0, 7, 8], { type: etherType.vlan })), packetKind.opaque, 'a tag that is cut off');
  t.equal(kindOf(frame([0, 7, 8, 6], { type: etherType.vlan })), packetKind.arp);
});

test('what is not IP', async (t) => {
  t.equal(kindOf(frame([1, 2, 3], { type: etherType.arp })), packetKind.arp);
  t.equal(kindOf(frame([1, 2, 3], { type: etherType.rarp })), packetKind.arp);
  const link = viewOf(frame([1, 2, 3], { type: 0x88cc }));
  t.strictSame([link.kind, link.etherType, link.payloadBytes], [packetKind.link, 0x88cc, 3]);
  t.equal(kindOf(frame([])), packetKind.opaque, 'IPv4 without a header');
  t.equal(kindOf(frame([], { type: 0x88cc })), packetKind.link);
  t.equal(kindOf(new Uint8Array(12 + 13)), packetKind.opaque);
  t.equal(kindOf(new Uint8Array(11)), packetKind.opaque);
  t.equal(kindOf(new Uint8Array(0)), packetKind.opaque);
  t.equal(viewOf(new Uint8Array(13), 0).kind, packetKind.opaque);
  t.equal(viewOf(new Uint8Array(14), 0).kind, packetKind.link);
});

test('IPv4 with options', async (t) => {
  const view = viewOf(tcpPacket({ ipOptions: [1, 1, 1, 0], payload: 'hi' }));
  t.strictSame([view.kind, payloadOf(view), view.transport - view.ip.at], [packetKind.tcp, 'hi', 24]);
  t.strictSame([view.ip.version, view.ip.addressBytes, view.ip.protocol], [4, 4, ipProtocol.tcp]);
});

test('malformed IPv4 is opaque', async (t) => {
  const broken = (at: number, ...values: number[]): number => {
    const packet = tcpPacket({ payload: 'hi' });
    packet.set(values, 26 + at);
    return kindOf(packet);
  };
  t.equal(broken(0, 0x45), packetKind.tcp);
  t.equal(broken(0, 0x55), packetKind.opaque, 'the version');
  t.equal(broken(0, 0x44), packetKind.opaque, 'a header that is too short');
  t.equal(broken(2, 0, 19), packetKind.opaque, 'shorter than its header');
  t.equal(broken(2, 0, 43), packetKind.opaque, 'longer than the frame');
  t.equal(broken(2, 0, 42), packetKind.tcp);
  t.equal(broken(2, 0, 39), packetKind.opaque, 'TCP that is cut off');
  t.equal(broken(2, 0, 40), packetKind.tcp);
  t.equal(broken(20 + 12, 0x40), packetKind.opaque, 'a TCP header that is too short');
  t.equal(broken(20 + 12, 0x60), packetKind.opaque, 'a TCP header that is longer than the segment');
  t.equal(kindOf(ipPacket([]).subarray(0, 26 + 19)), packetKind.opaque);
});

test('pieces of IPv4 packets', async (t) => {
  const first = viewOf(ipPacket(new Uint8Array(16), { fragment: 0x2000, id: 0xabcd }));
  t.strictSame([first.kind, first.ip.fragmentOffset, first.ip.moreFragments], [packetKind.fragment, 0, true]);
  t.equal(first.ip.fragmentId, 0xabcd);
  t.equal(first.payloadBytes, 16);
  const last = viewOf(ipPacket(new Uint8Array(3), { fragment: 0x0007 }));
  t.strictSame([last.kind, last.ip.fragmentOffset, last.ip.moreFragments], [packetKind.fragment, 56, false]);
  t.equal(kindOf(tcpPacket({ fragment: 0x4000 })), packetKind.tcp, 'one that must not be cut');
});

test('UDP', async (t) => {
  const view = viewOf(udpPacket({ payload: 'question' }));
  t.equal(view.kind, packetKind.udp);
  t.strictSame([view.sourcePort, view.destinationPort], [53, 40_112]);
  t.equal(view.checksum, view.transport + 6);
  t.equal(payloadOf(view), 'question');
  const length = (value: number): number => {
    const packet = udpPacket({ payload: 'question' });
    packet.set(word(value), 46 + 4);
    return viewOf(packet).kind === packetKind.udp ? viewOf(packet).payloadBytes : -1;
  };
  t.equal(length(12), 4, 'what its header says, if IP has more');
  t.equal(length(8), 0);
  t.equal(length(7), -1);
  t.equal(length(17), -1);
  t.equal(kindOf(ipPacket(new Uint8Array(7), { protocol: ipProtocol.udp })), packetKind.opaque);
});

test('ICMP and ICMPv6', async (t) => {
  const echo = viewOf(icmpPacket(8, 3, [0, 1, 0, 2, 65, 66]));
  t.strictSame([echo.kind, echo.icmpType, echo.icmpCode, payloadOf(echo)], [packetKind.icmp, 8, 3, 'AB']);
  t.equal(echo.checksum, echo.transport + 2);
  const echo6 = viewOf(icmpPacket(128, 0, [0, 1, 0, 2, 65], { version: 6 }));
  t.strictSame([echo6.kind, echo6.icmpType, payloadOf(echo6)], [packetKind.icmp6, 128, 'A']);
  t.equal(kindOf(icmpPacket(8, 0, [0, 1, 0])), packetKind.opaque);
  t.equal(kindOf(icmpPacket(8, 0, [0, 1, 0, 0])), packetKind.icmp);
  t.equal(kindOf(ipPacket(new Uint8Array(9), { protocol: ipProtocol.icmp6 })), packetKind.ip, 'of the other IP');
  t.equal(kindOf(ipPacket(new Uint8Array(9), { protocol: ipProtocol.icmp, version: 6 })), packetKind.ip);
});

test('other protocols', async (t) => {
  const view = viewOf(ipPacket(bytesOf('gre'), { protocol: 47 }));
  t.strictSame([view.kind, view.ip.protocol, payloadOf(view)], [packetKind.ip, 47, 'gre']);
  t.equal(kindOf(ipPacket([], { protocol: ipProtocol.none, version: 6 })), packetKind.ip);
});

test('IPv6 and its extension headers', async (t) => {
  const plain = viewOf(tcpPacket({ version: 6, payload: 'six' }));
  t.strictSame([plain.kind, payloadOf(plain), plain.ip.version], [packetKind.tcp, 'six', 6]);
  t.strictSame([plain.ip.addressBytes, plain.ip.destination - plain.ip.source], [16, 16]);
  const { hopByHop, routing, destination, authentication, fragment, tcp } = ipProtocol;
  const { mobility, hostIdentity, shim6 } = ipProtocol;
  const behind = (first: number, extensions: number[]): PacketView =>
    viewOf(tcpPacket({ version: 6, payload: 'six', firstExtension: first, extensions }));
  for (const first of [hopByHop, routing, destination, mobility, hostIdentity, shim6]) {
    const view = behind(first, [tcp, 1, ...new Array(14).fill(0)]);
    t.strictSame([view.kind, payloadOf(view)], [packetKind.tcp, 'six'], `extension ${first}`);
  }
  t.equal(payloadOf(behind(authentication, [tcp, 4, ...new Array(22).fill(0)])), 'six', 'counts in words');
  const two = behind(hopByHop, [destination, 0, ...new Array(6).fill(0), tcp, 0, ...new Array(6).fill(0)]);
  t.equal(payloadOf(two), 'six');
  t.equal(behind(hopByHop, [tcp, 200, 0, 0, 0, 0, 0, 0]).kind, packetKind.opaque, 'longer than the packet');
  const atomic = behind(fragment, [tcp, 99, 0, 0, 0, 0, 0, 1]);
  t.strictSame([atomic.kind, payloadOf(atomic)], [packetKind.tcp, 'six'], 'all in one piece');
  const first = behind(fragment, [tcp, 0, 0, 1, 0x80, 0, 0, 1]);
  t.strictSame(
    [first.kind, first.ip.protocol, first.ip.fragmentOffset, first.ip.moreFragments, first.ip.fragmentId],
    [packetKind.fragment, tcp, 0, true, 0x80000001 | 0],
  );
  const later = behind(fragment, [destination, 0, 0x01, 0x08, 0, 0, 0, 1]);
  t.strictSame([later.kind, later.ip.fragmentOffset], [packetKind.fragment, 0x108], 'what follows is no header');
  const many = (count: number): PacketView =>
    behind(
      destination,
      Array.from({ length: count }, (_, index) => [index + 1 < count ? destination : tcp, 0, 0, 0, 0, 0, 0, 0]).flat(),
    );
  t.equal(many(15).kind, packetKind.tcp);
  t.equal(many(17).kind, packetKind.opaque);
});

test('malformed IPv6 is opaque', async (t) => {
  const packet = tcpPacket({ version: 6, payload: 'hi' });
  const broken = (at: number, ...values: number[]): number => {
    const copy = Uint8Array.from(packet);
    copy.set(values, 26 + at);
    return kindOf(copy);
  };
  t.equal(broken(0, 0x40), packetKind.opaque, 'the version');
  t.equal(broken(4, 0, 23), packetKind.opaque, 'longer than the frame');
  t.equal(broken(4, 0, 22), packetKind.tcp);
  t.equal(kindOf(packet.subarray(0, 26 + 39)), packetKind.opaque);
  t.equal(kindOf(ipPacket([6, 0, 0], { version: 6, protocol: 0 })), packetKind.opaque, 'an extension that is cut off');
});

test('partial checksums and segmentation offload', async (t) => {
  const partial = viewOf(tcpPacket({ partialChecksum: true, payload: 'hi' }));
  t.equal(partial.partialChecksum, partial.checksum);
  t.equal(partial.checksumStart, partial.transport);
  t.equal(viewOf(tcpPacket()).partialChecksum, 0);
  const big = viewOf(tcpPacket({ header: virtioHeader(34, 16, 1, 1448) }));
  t.strictSame([big.gsoType, big.gsoSize, big.partialChecksum], [1, 1448, big.checksum]);
  t.equal(kindOf(tcpPacket({ header: virtioHeader(34, 18) })), packetKind.tcp, 'the last two bytes of it');
  t.equal(kindOf(tcpPacket({ header: virtioHeader(34, 19) })), packetKind.opaque, 'outside the packet');
  t.equal(kindOf(tcpPacket({ header: virtioHeader(0xffff, 0xffff) })), packetKind.opaque);
  const view = new PacketView();
  const packets = [tcpPacket({ partialChecksum: true, header: virtioHeader(34, 16, 4, 9) }), udpPacket()];
  for (const packet of packets) view.read(packet, 0, packet.length);
  t.strictSame([view.gsoType, view.gsoSize, view.partialChecksum], [0, 0, 0], 'of the packet before nothing is left');
});

test('TCP options', async (t) => {
  const optionsOf = (...options: number[]) => viewOf(tcpPacket({ options })).tcpOptions;
  const view = viewOf(
    tcpPacket({ options: [2, 4, 0x05, 0xb4, 4, 2, 8, 10, ...long(0x11223344), ...long(5), 1, 3, 3, 7] }),
  );
  t.match(view.tcpOptions, { mss: 1460, sackPermitted: true, windowScale: 7, sack: 0, sackBlocks: 0 });
  t.equal(view.bytes[view.tcpOptions.timestamps], 0x11, 'where TSval is');
  const sack = viewOf(tcpPacket({ options: [1, 1, 5, 18, 0xaa, ...new Array(15).fill(0)] }));
  t.equal(sack.tcpOptions.sackBlocks, 2);
  t.equal(sack.bytes[sack.tcpOptions.sack], 0xaa);
  t.match(optionsOf(0, 2, 4, 5, 0xb4), { mss: 0 }, 'what follows the end is nothing');
  t.match(optionsOf(3, 3, 9, 2, 1, 3, 3, 7), { windowScale: 9 }, 'an impossible length ends them');
  t.match(optionsOf(2, 3, 1, 3, 3, 7), { mss: 0, windowScale: 7 }, 'one of another length is unknown');
  t.match(optionsOf(3, 4, 1, 1, 4, 3, 0, 8, 9, 0, 0, 0, 0, 0, 0, 0), {
    windowScale: -1,
    sackPermitted: false,
    timestamps: 0,
  });
  t.match(optionsOf(5, 2, 5, 6, 0, 0, 0, 0), { sack: 0, sackBlocks: 0 });
  t.match(optionsOf(1, 1, 1, 2), { mss: 0 }, 'cut off behind its kind');
  t.match(optionsOf(2, 4, 1), { mss: 0x100 }, 'padded');
  t.match(optionsOf(1, 1, 1, 1, 1, 2, 4, 1), { mss: 0 }, 'longer than there is room');
  t.match(optionsOf(254, 4, 9, 9, 3, 3, 7), { windowScale: 7 }, 'an unknown one is skipped');
  const again = new PacketView();
  for (const packet of [tcpPacket({ options: [3, 3, 7, 4, 2, 2, 4, 1, 1] }), tcpPacket()]) {
    again.read(packet, 0, packet.length);
  }
  t.match(again.tcpOptions, { mss: 0, windowScale: -1, sackPermitted: false, timestamps: 0, sack: 0, sackBlocks: 0 });
});

test('whatever bytes a packet has, nothing outside them is read', async (t) => {
  const random = randomNumbers(7);
  const models = [
    tcpPacket({ options: [8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 10, ...new Array(8).fill(1)], payload: 'payload' }),
    tcpPacket({ version: 6, firstExtension: 0, extensions: [44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1] }),
    udpPacket({ payload: 'payload', tags: [[etherType.vlan, 1]] }),
    icmpPacket(8, 0, [0, 0, 0, 0, 1, 2, 3]),
  ];
  const view = new PacketView();
  const wrong: string[] = [];
  for (let run = 0; run < 20_000; run++) {
    const model = models[random(models.length)] as Uint8Array;
    const packet = model.slice(0, random(4) === 0 ? random(model.length + 1) : model.length);
    for (let count = random(4); count > 0; count--) packet[random(packet.length)] = random(256);
    let outside = -1;
    const watched = new Proxy(packet, {
      get: (target, name) => {
        if (typeof name === 'string' && /^\d+$/.test(name) && Number(name) >= target.length) outside = Number(name);
        return Reflect.get(target, name, target);
      },
    });
    const kind = view.read(watched, 0, packet.length);
    if (outside >= 0) wrong.push(`run ${run}: byte ${outside} of ${packet.length} is read`);
    if (kind !== packetKind.opaque && view.payload + view.payloadBytes > packet.length) {
      wrong.push(`run ${run}: the payload ends outside the packet`);
    }
    const { timestamps, sack, sackBlocks } = view.tcpOptions;
    if (kind === packetKind.tcp && (timestamps + 8 > view.payload || sack + 8 * sackBlocks > view.payload)) {
      wrong.push(`run ${run}: an option ends outside the header`);
    }
  }
  t.strictSame(wrong, []);
});

test('the first piece of a TCP packet can be read as far as it goes', async (t) => {
  const first = tcpPacket({ payload: 'abcdef', sequence: 77, fragment: 0x2000, destinationPort: 9 });
  const whole = tcpPacket({ payload: 'abcdef', sequence: 77, destinationPort: 9 });
  // Addresses and flags of the piece, everything else of the whole.
  whole.set(first.subarray(0, 12 + 14 + 20), 0);
  const view = viewOf(whole);
  t.equal(view.kind, packetKind.fragment);
  t.ok(view.openFirstFragment());
  t.equal(view.kind, packetKind.tcp);
  t.same([view.sequence, view.destinationPort, view.payloadBytes], [77, 9, 6]);
  t.notOk(view.openFirstFragment(), 'it is a whole packet by now');
  const later = viewOf(tcpPacket({ payload: 'abcdef', fragment: 0x2001 }));
  t.notOk(later.openFirstFragment());
  t.equal(later.kind, packetKind.fragment);
  t.notOk(viewOf(ipPacket(new Array(19).fill(0), { fragment: 0x2000 })).openFirstFragment(), 'half a header');
  t.notOk(viewOf(udpPacket({ payload: new Array(40).fill(0), fragment: 0x2000 })).openFirstFragment());
});
