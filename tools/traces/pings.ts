import { complemented, fillIpv4Checksum, folded, summed } from '../../src/colo/packet/checksum.ts';
import { PacketView } from '../../src/colo/packet/packet-view.ts';
import { ipProtocol, putWord } from '../../src/colo/packet/wire.ts';
import { ipPacket, long, word } from '../../test/support/packets.ts';
import { addresses } from './addresses.ts';
import { content, type IpVersion, ipVersions } from './talk.ts';

/** What comes of a ping in the guest is its kernel's, and who asks is no matter: so these are made here. */

const echoRequest = { 4: 8, 6: 128 } as const;
const protocols = { 4: ipProtocol.icmp, 6: ipProtocol.icmp6 } as const;
/** Multiples of 8, but for the last piece. */
const pieceBytes = 1208;

/** Echo requests for the guest, small and larger than its MTU, with a virtio-net header. */
export function pings(): Uint8Array[] {
  return ipVersions.flatMap((version) => [
    ...ping(version, 1, 56),
    ...ping(version, 2, 3000),
    ...ping(version, 3, 300),
  ]);
}

function ping(version: IpVersion, number: number, bytes: number): Uint8Array[] {
  const message = Uint8Array.from([echoRequest[version], 0, 0, 0, ...word(0x7a7a), ...word(number), ...content(bytes)]);
  const [source, destination] = [binary(addresses.client[version]), binary(addresses.guest[version])];
  const pseudo = [...source, ...destination, ...long(message.length), ...long(ipProtocol.icmp6)];
  const sum = version === 4 ? 0 : folded(summed(Uint8Array.from(pseudo), 0, pseudo.length));
  putWord(message, 2, complemented(summed(message, 0, message.length, sum)));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < message.length; at += pieceBytes) {
    const isLast = at + pieceBytes >= message.length;
    const parts = { version, source, destination, protocol: protocols[version] };
    const piece = message.subarray(at, at + pieceBytes);
    if (version === 4)
      pieces.push(ipPacket(piece, { ...parts, id: number, fragment: (isLast ? 0 : 0x2000) | (at / 8) }));
    else if (message.length <= pieceBytes) pieces.push(ipPacket(piece, parts));
    else {
      const extensions = [protocols[version], 0, ...word(at | (isLast ? 0 : 1)), ...long(number)];
      pieces.push(ipPacket(piece, { ...parts, firstExtension: ipProtocol.fragment, extensions }));
    }
  }
  return pieces.map(addressed);
}

/** From the client to the guest, with a right header. */
function addressed(packet: Uint8Array): Uint8Array {
  const view = new PacketView();
  view.read(packet, 0, packet.length);
  if (view.ip.version === 4) fillIpv4Checksum(view);
  packet.set([...addresses.guest.ethernet, ...addresses.client.ethernet], view.ethernet);
  return packet;
}

/** An address as it travels. Those of IPv6 have a part before, and one behind zeros. */
function binary(address: string): number[] {
  if (!address.includes(':')) return address.split('.').map(Number);
  const [before = [], behind = []] = address
    .split('::')
    .map((part) => part.split(':').flatMap((group) => word(Number.parseInt(group, 16))));
  return [...before, ...new Array(16 - before.length - behind.length).fill(0), ...behind];
}
