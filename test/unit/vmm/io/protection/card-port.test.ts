import { type Test, test } from 'tap';
import { EAGAIN } from '../../../../../src/host/errno.ts';
import { viewMemory } from '../../../../../src/host/libc/memory.ts';
import { IoVectors } from '../../../../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../../../../src/host/mappings/mapping.ts';
import { CardPort } from '../../../../../src/vmm/io/protection/card-port.ts';
import { FakePort, packet } from '../../../devices/net/net-rig.ts';

/** A port, and somebody who reads it into two ranges. */
function portRig(t: Test, ranges: readonly [number, number] = [40, 4000]) {
  const memory = new AnonymousMapping('read packets', 8192);
  const vectors = new IoVectors(1, 2);
  t.teardown(() => {
    vectors.close();
    memory.close();
  });
  const [vector] = vectors.vectors;
  if (vector === undefined) throw new Error('no vector');
  vector.add(memory.address, ranges[0]);
  vector.add(memory.address + 4096, ranges[1]);
  const tap = new FakePort();
  const port = new CardPort(tap);
  const read = (): Uint8Array | number => {
    const length = port.readv(vector.address, 2);
    if (length < 0) return length;
    const bytes = new Uint8Array(viewMemory(memory.address, 8192));
    const first = bytes.slice(0, Math.min(length, ranges[0]));
    return Uint8Array.from([...first, ...bytes.slice(4096, 4096 + length - first.length)]);
  };
  return { tap, port, read };
}

test('what is replayed comes before what the TAP has, in order and whole', async (t) => {
  const { tap, port, read } = portRig(t);
  tap.incoming.push(packet(60, 9));
  port.replay([packet(100, 1), packet(30, 2)]);
  port.replay([packet(50, 3)]);
  t.equal(port.replaying, 3);
  t.strictSame(read(), packet(100, 1));
  port.replay([packet(70, 4)]);
  t.strictSame([read(), read(), read()], [packet(30, 2), packet(50, 3), packet(70, 4)]);
  t.equal(tap.reads, 0, 'nobody has looked at the TAP');
  t.strictSame(read(), packet(60, 9));
  t.equal(port.replaying, 0);
  t.equal(read(), -EAGAIN);
});

test('what does not fit into the buffers is lost, as with a TAP', async (t) => {
  const { port, read } = portRig(t, [40, 30]);
  port.replay([packet(100, 1)]);
  t.strictSame(read(), packet(100, 1).subarray(0, 70));
});

test('a guest that is gone gets nothing more', async (t) => {
  const { tap, port, read } = portRig(t);
  port.replay([packet(100, 1)]);
  port.forgetReplay();
  t.equal(port.replaying, 0);
  tap.incoming.push(packet(60, 9));
  t.strictSame(read(), packet(60, 9));
  port.replay([]);
  t.equal(read(), -EAGAIN);
});
