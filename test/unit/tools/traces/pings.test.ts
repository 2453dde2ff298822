import { test } from 'tap';
import { complemented, summed, transportChecksum } from '../../../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { wordAt } from '../../../../src/colo/packet/wire.ts';
import { pings } from '../../../../tools/traces/pings.ts';

test('echo requests are whole with right checksums, or pieces that make up a whole', async (t) => {
  const view = new PacketView();
  const kinds: number[] = [];
  const expected = new Map<number, number>();
  for (const packet of pings()) {
    kinds.push(view.read(packet, 0, packet.length));
    const { ip } = view;
    if (ip.version === 4) t.equal(complemented(summed(packet, ip.at, ip.payload)), 0);
    if (view.kind === packetKind.icmp6) t.equal(wordAt(packet, view.checksum), transportChecksum(view));
    if (view.kind === packetKind.icmp) t.equal(complemented(summed(packet, ip.payload, ip.end)), 0);
    if (view.kind !== packetKind.fragment) continue;
    t.equal(ip.fragmentOffset, expected.get(ip.version) ?? 0, 'it goes on where the last one ended');
    expected.set(ip.version, ip.fragmentOffset + view.payloadBytes);
    t.equal(ip.moreFragments, view.payloadBytes === 1208);
  }
  const { icmp, icmp6, fragment } = packetKind;
  t.strictSame(kinds, [icmp, fragment, fragment, fragment, icmp, icmp6, fragment, fragment, fragment, icmp6]);
  t.strictSame([...expected.values()], [3008, 3008], 'the header of ICMP is in it');
});
