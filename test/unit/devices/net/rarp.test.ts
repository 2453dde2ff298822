import { test } from 'tap';
import { rarpRequest } from '../../../../src/devices/net/rarp.ts';

test('a RARP request goes to everybody, from and for the address, and is as long as Ethernet wants it', async (t) => {
  const mac = '020000abcdef';
  const frame = Buffer.from(rarpRequest(Buffer.from(mac, 'hex')));
  t.equal(
    frame.toString('hex'),
    // Ethernet: to, from, type; then: Ethernet, IPv4, lengths, operation 3; sender, target.
    `ffffffffffff${mac}8035${'0001080006040003'}${mac}00000000${mac}00000000`.padEnd(120, '0'),
  );
});
