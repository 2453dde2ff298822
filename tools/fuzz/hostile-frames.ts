import { complemented, pseudoHeaderSum, summed } from '../../src/colo/packet/checksum.ts';
import { type PacketKind, PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { etherType, putWord, wordAt } from '../../src/colo/packet/wire.ts';
import { frame, icmpPacket, ipPacket, long, type TcpParts, tcpPacket, udpPacket } from '../../test/support/packets.ts';
import type { Random } from './fuzz-target.ts';

/** Ports and numbers of few values, so that frames meet each other's connections. */
const clientPort = 40_112;
const guestPorts = 8;

/** A frame: right, or nearly, or nothing at all. */
export function spoilt(random: Random, right: Uint8Array): Uint8Array {
  switch (random(12)) {
    case 0: {
      const packet = right.slice();
      for (let count = 1 + random(4); count > 0; count--) packet[random(packet.length)] = random(256);
      return packet;
    }
    case 1:
      return right.slice(0, random(right.length + 1));
    case 2:
      return Uint8Array.from({ length: random(80) }, () => random(256));
    default:
      return right;
  }
}

/** A frame that the guest sends. */
export function rightFrame(random: Random): Uint8Array {
  const version = random(4) === 0 ? 6 : 4;
  const sourcePort = 1 + random(guestPorts);
  const tags = random(12) === 0 ? ([[etherType.vlan, random(2)]] as const) : [];
  const common = { version, sourcePort, tags, padding: random(3) } as const;
  const payload = ['', 'a', 'b', 'ab', 'abcdefgh', 'abcdefgX', 'x'.repeat(1460)][random(7)] as string;
  switch (random(12)) {
    case 0:
      return udpPacket({ ...common, payload });
    case 1:
      return udpPacket({ ...common, payload: new Uint8Array(random(10) === 0 ? random(30_000) : random(300)) });
    case 2:
      return icmpPacket(random(2) === 0 ? 128 + random(16) : 8, 0, [0, 0, 0, random(3), 65], common);
    case 3:
      return ipPacket([1, 2, random(3)], { ...common, protocol: [47, 2, 1, 58][random(4)] as number });
    case 4:
      return version === 4
        ? ipPacket([1, 2, random(3)], { ...common, fragment: [0x2000, 1, 0x2001][random(3)] as number, id: random(3) })
        : ipPacket([1, 2, random(3)], {
            ...common,
            firstExtension: 44,
            extensions: [17, 0, 0, random(10), 0, 0, 0, random(3)],
          });
    case 5:
      return frame([1, 2, random(3)], {
        ...common,
        type: [etherType.arp, 0x88cc, etherType.ipv4][random(3)] as number,
      });
    default:
      return segment(
        random,
        { ...common, sourcePort: 1 + (sourcePort % ([8, 2, 2, 2][random(4)] as number)) },
        payload,
      );
  }
}

/** A TCP segment that the network sends to the guest, of the same connections, or an error about one of the guest's. */
export function rightSegmentBack(random: Random): Uint8Array {
  const version = random(4) === 0 ? 6 : 4;
  const [guest, client] =
    version === 4
      ? [
          [192, 0, 2, 1],
          [198, 51, 100, 7],
        ]
      : [net6(1), net6(7)];
  const payload = ['', 'a', 'abcdefgh', 'x'.repeat(1460)][random(4)] as string;
  const ends = { source: client, destination: guest, sourcePort: clientPort, destinationPort: 1 + random(2) };
  if (random(10) === 0) return quotingError(random, version);
  const piece = version === 4 && random(12) === 0 ? { fragment: 0x2000 } : {};
  return segment(random, { version, ...ends, ...piece }, payload);
}

/** An ICMP error about a segment that the guest may have sent. */
function quotingError(random: Random, version: 4 | 6): Uint8Array {
  const about = segment(random, { version, sourcePort: 1 + random(2) }, '');
  const { length } = about;
  const quoted = about.subarray(12 + 14, random(3) === 0 ? 12 + 14 + random(length - 12 - 14) : length);
  const type = version === 4 ? [3, 11, 8][random(3)] : [2, 1, 128][random(3)];
  const error = icmpPacket(type as number, 4, [0, 0, 5, 0, ...quoted], { version });
  const view = new PacketView();
  const kind = view.read(error, 0, error.length);
  putWord(error, view.checksum, 0);
  putWord(error, view.checksum, icmpChecksum(view, kind));
  return error;
}

/** What the checksum of an ICMP packet must hold where there is none yet. */
export function icmpChecksum(view: PacketView, kind: PacketKind): number {
  const pseudo = kind === packetKind.icmp6 ? pseudoHeaderSum(view) : 0;
  const { bytes, transport, ip, checksum } = view;
  return complemented(summed(bytes, transport, ip.end, pseudo) - wordAt(bytes, checksum));
}

/** A TCP segment within a few bytes of others, so that all meet. */
function segment(random: Random, common: TcpParts, payload: string): Uint8Array {
  const base = [1000, 0xfffffffe, 0x7ffffffe][random(12) === 0 ? random(3) : 0] as number;
  const options = [
    [],
    [3, 3, 7],
    [4, 2],
    [8, 10, ...long(1), ...long(2)],
    [1, 1, 5, 10, ...long(1), ...long(2)],
    [1, 5, 18, ...long(3), ...long(9), ...long(20), ...long(1000), 8, 10, ...long(1), ...long(0)],
  ];
  return tcpPacket({
    ...common,
    sequence: (base + ([0, 1, 2, 3, 9, 1461, 2 ** 30][random(7)] as number)) >>> 0,
    acknowledgement: [500, 501, 499, 0x80000000][random(12) === 0 ? random(4) : random(2)] as number,
    flags: [0x10, 0x18, 0x11, 0x02, 0x12, 0x04, 0x14, random(256)][random(8)] as number,
    options: options[random(3) === 0 ? random(options.length) : 0] as number[],
    payload: random(2) === 0 ? '' : payload,
    partialChecksum: random(4) === 0,
  });
}

function net6(last: number): number[] {
  return [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), last];
}
