import { test } from 'tap';
import { longestPacket, longestPlainPacket, shortestPacket } from '../../../../src/devices/net/packet-port.ts';

test('packets are as long as Ethernet and the header of virtio-net make them', async (t) => {
  t.equal(shortestPacket, 12 + 14, 'header, two addresses and a type');
  t.equal(longestPlainPacket(), 12 + 14 + 4 + 1500, 'with the tag of a VLAN');
  t.equal(longestPlainPacket(9000), 12 + 14 + 4 + 9000);
  t.equal(longestPacket, 12 + 65_550);
});
