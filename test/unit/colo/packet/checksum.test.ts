import { test } from 'tap';
import {
  adjusted,
  adjustedLong,
  complemented,
  fillIpv4Checksum,
  folded,
  pseudoHeaderSum,
  summed,
  transportChecksum,
} from '../../../../src/colo/packet/checksum.ts';
import { PacketView } from '../../../../src/colo/packet/packet-view.ts';
import { longAt, putLong, putWord, wordAt } from '../../../../src/colo/packet/wire.ts';
import { tcpPacket, udpPacket } from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';

function viewOf(packet: Uint8Array): PacketView {
  const view = new PacketView();
  view.read(packet, 0, packet.length);
  return view;
}

test('the example of RFC 1071', async (t) => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  t.equal(summed(bytes, 0, 8), 0x2ddf0);
  t.equal(folded(summed(bytes, 0, 8)), 0xddf2);
  t.equal(complemented(summed(bytes, 0, 8)), 0x220d);
  t.equal(summed(bytes, 4, 8, summed(bytes, 0, 4)), 0x2ddf0, 'in two parts');
  t.equal(summed(bytes, 0, 3), 0xf201, 'a last byte has a zero behind it');
  t.equal(folded(0xffff), 0xffff);
  t.equal(folded(0x1ffff), 1);
  t.equal(folded(0xffff * 0x8000), 0xffff, 'as much as 64 KiB can sum to');
});

test('an IPv4 header of the real world', async (t) => {
  // From Wikipedia's article on the IPv4 header checksum.
  const header = '4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7'.replaceAll(' ', '');
  const packet = new Uint8Array(12 + 14 + 0x73);
  putWord(packet, 24, 0x0800);
  packet.set(Buffer.from(header, 'hex'), 26);
  putWord(packet, 46 + 4, 0x73 - 20);
  const view = viewOf(packet);
  putWord(packet, view.ip.at + 10, 0x1234);
  fillIpv4Checksum(view);
  t.equal(wordAt(packet, view.ip.at + 10), 0xb861);
});

for (const version of [4, 6] as const) {
  test(`TCP and UDP over IPv${version}: all words with the pseudo-header sum to nothing`, async (t) => {
    for (const packet of [
      tcpPacket({ version, payload: 'odd' }),
      udpPacket({ version, payload: 'even' }),
      tcpPacket({ version, payload: new Uint8Array(60_000).fill(0xff) }),
    ]) {
      const view = viewOf(packet);
      t.equal(folded(summed(packet, view.transport, view.ip.end, pseudoHeaderSum(view))), 0xffff);
      t.equal(transportChecksum(view), wordAt(packet, view.checksum));
    }
  });
}

test('a partial checksum is the sum of the pseudo-header', async (t) => {
  const packet = tcpPacket({ partialChecksum: true, payload: 'x' });
  const view = viewOf(packet);
  // 192.0.2.1 and 198.51.100.7, TCP, 21 bytes
  t.equal(wordAt(packet, view.checksum), folded(0xc000 + 0x0201 + 0xc633 + 0x6407 + 6 + 21));
  t.equal(transportChecksum(view), wordAt(packet, view.checksum));
});

test('a changed word changes the checksum as if it were computed anew', async (t) => {
  // RFC 1624, 4: where the equation before it went wrong.
  t.equal(adjusted(0xdd2f, 0x5555, 0x3285), 0x0000);
  const random = randomNumbers(3);
  const bytes = new Uint8Array(40);
  for (let run = 0; run < 20_000; run++) {
    for (let at = 0; at < bytes.length; at++) bytes[at] = [random(256), 0, 0xff][random(3)] as number;
    // Never all zeros: then there are two zeros to choose from.
    bytes[39] = 1;
    const before = complemented(summed(bytes, 0, 40));
    const at = random(36);
    const value = [random(2 ** 32), 0, 0xffffffff, 0xffff][random(4)] as number;
    const old = longAt(bytes, at);
    putLong(bytes, at, value);
    bytes[39] = 1;
    const after = complemented(summed(bytes, 0, 40));
    const adjustedTo = adjustedLong(before, old, value, at % 2 === 1);
    if (adjustedTo !== after) t.bailout(`run ${run}: ${adjustedTo} for ${after}, at ${at}`);
  }
});
