import { test } from 'tap';
import { packReplayed, replayedOf } from '../../../../../src/vmm/platform/replayed-packets.ts';
import { packet } from '../../../devices/net/net-rig.ts';

test('each card gets its own packets, in order and whole, whatever their lengths', async (t) => {
  const packed = packReplayed([
    { card: 0, packet: packet(61, 1) },
    { card: 1, packet: packet(1514, 2) },
    { card: 0, packet: packet(64, 3) },
    { card: 0, packet: packet(27, 4) },
  ]);
  t.equal(packed.count, 4);
  t.strictSame(replayedOf(packed, 0), [packet(61, 1), packet(64, 3), packet(27, 4)]);
  t.strictSame(replayedOf(packed, 1), [packet(1514, 2)]);
  t.strictSame(replayedOf(packed, 2), []);
  t.strictSame(replayedOf(packReplayed([]), 0), []);
});
