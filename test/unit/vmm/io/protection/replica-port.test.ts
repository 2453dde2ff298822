import { type Test, test } from 'tap';
import { EAGAIN } from '../../../../../src/host/errno.ts';
import { viewMemory } from '../../../../../src/host/libc/memory.ts';
import { IoVectors } from '../../../../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../../../../src/host/mappings/mapping.ts';
import { RecordProducer, recordRingStorage } from '../../../../../src/host/threads/record-ring.ts';
import { CardPort } from '../../../../../src/vmm/io/protection/card-port.ts';
import { PacketFeed } from '../../../../../src/vmm/io/protection/packet-feed.ts';
import { SharedTranslation } from '../../../../../src/vmm/io/protection/translation.ts';
import { kindOfCard } from '../../../../../src/vmm/platform/packet-rings.ts';
import { FakePort, packet } from '../../../devices/net/net-rig.ts';

/** Adds to the third byte of each packet, as long as there are connections. */
class Adding {
  size = 1;
  readonly cards: number[] = [];
  scans = 0;

  outgoing(card: number, bytes: Uint8Array, offset: number): void {
    this.cards.push(card);
    bytes[offset + 2] = (bytes[offset + 2] as number) + 100;
  }
  incoming(card: number, bytes: Uint8Array, offset: number): void {
    this.cards.push(card);
    bytes[offset + 2] = (bytes[offset + 2] as number) + 1;
  }
  scan(): void {
    this.scans++;
  }
  readonly saved = { flows: [] };
  save(): object {
    return this.saved;
  }
}

/** A replica's port with its feed, and what reads and writes it in two ranges. */
function replicaRig(t: Test) {
  const memory = new AnonymousMapping('packets', 8192);
  const vectors = new IoVectors(1, 2);
  const tap = new FakePort();
  const translation = new SharedTranslation();
  const port = new CardPort(tap, 3, translation);
  t.teardown(() => {
    port.close();
    vectors.close();
    memory.close();
  });
  const [vector] = vectors.vectors;
  if (vector === undefined) throw new Error('no vector');
  const bytes = new Uint8Array(viewMemory(memory.address, 8192));
  const over = (first: number, second: number): number => {
    vector.clear();
    vector.add(memory.address, first);
    vector.add(memory.address + 4096, second);
    return vector.address;
  };
  const read = (): Uint8Array | number => {
    const length = port.readv(over(40, 4000), 2);
    if (length < 0) return length;
    return Uint8Array.from([...bytes.slice(0, 40), ...bytes.slice(4096, 4096 + length - 40)]);
  };
  const write = (from: Uint8Array): number => {
    bytes.set(from.subarray(0, 40), 0);
    bytes.set(from.subarray(40), 4096);
    return port.writev(over(40, from.length - 40), 2);
  };
  const epoch = { number: 7 };
  const storage = recordRingStorage(4096);
  let wakes = 0;
  const ring = new RecordProducer(storage, () => wakes++);
  let rings = 0;
  port.feed(new PacketFeed(storage, epoch, () => rings++));
  const feed = (of: number, data: Uint8Array): void => {
    const at = ring.reserve(data.length);
    if (at < 0) throw new Error('no room');
    ring.bytes.set(data, at);
    ring.commit(kindOfCard(3), of);
  };
  return { tap, port, translation, read, write, feed, ring, epoch, wakes: () => wakes, rings: () => rings };
}

/** The packet as a translation that adds leaves it. */
function added(data: Uint8Array, what: number): Uint8Array {
  const copy = Uint8Array.from(data);
  copy[2] = (copy[2] as number) + what;
  return copy;
}

test("a replica's guest gets what it is fed, of the epoch that it runs in, and nothing that its TAP has", async (t) => {
  const { tap, read, feed, epoch, wakes } = replicaRig(t);
  tap.incoming.push(packet(60, 9));
  t.equal(read(), -EAGAIN);
  feed(6, packet(50, 1));
  t.equal(wakes(), 1, 'who found none is woken');
  feed(7, packet(60, 2));
  feed(7, packet(70, 3));
  t.strictSame([read(), read()], [packet(60, 2), packet(70, 3)]);
  feed(7, packet(80, 4));
  epoch.number = 8;
  feed(8, packet(90, 5));
  t.strictSame(read(), packet(90, 5), 'what was for a guest that was rolled back is dropped');
  t.equal(read(), -EAGAIN);
  t.equal(tap.reads, 0);
});

test('whoever finds a feed full hears when there is room', async (t) => {
  const { read, feed, ring, rings } = replicaRig(t);
  while (ring.reserve(500) >= 0) feed(7, packet(500, 1));
  t.ok(ring.waitForRoom());
  t.equal(rings(), 0);
  read();
  t.equal(rings(), 1);
  t.ok(ring.reserve(500) >= 0);
});

test('a guest that speaks for itself gets what was left of its feed, what it missed, and then what its TAP has', async (t) => {
  const { tap, port, read, feed } = replicaRig(t);
  tap.incoming.push(packet(60, 9));
  feed(6, packet(50, 1));
  feed(7, packet(60, 2));
  port.endFeed();
  port.replay([packet(70, 3)]);
  t.equal(port.replaying, 2);
  t.strictSame([read(), read(), read()], [packet(60, 2), packet(70, 3), packet(60, 9)]);
  t.equal(port.replaying, 0);
});

test('while connections are translated all packets are, but those that were fed', async (t) => {
  const { tap, port, translation, read, write, feed } = replicaRig(t);
  const adding = new Adding();
  feed(7, packet(60, 2));
  port.endFeed();
  translation.begin(adding);
  port.replay([packet(70, 3)]);
  tap.incoming.push(packet(60, 9));
  t.strictSame(read(), packet(60, 2));
  t.strictSame(read(), added(packet(70, 3), 1));
  t.strictSame(read(), added(packet(60, 9), 1));
  t.equal(read(), -EAGAIN);
  t.equal(write(packet(90, 4)), 90);
  t.strictSame(tap.sent.at(-1), added(packet(90, 4), 100));
  t.ok(adding.cards.every((card) => card === 3));
  const kept = packet(80, 5);
  port.translate(kept, 0, kept.length);
  t.strictSame(kept, added(packet(80, 5), 100));
});

test('what was translated on its way in is there as it came, until the next packet is read', async (t) => {
  const { tap, port, translation, read, feed } = replicaRig(t);
  feed(7, packet(60, 2));
  port.endFeed();
  translation.begin(new Adding());
  port.replay([packet(70, 3)]);
  tap.incoming.push(packet(60, 9));
  read();
  t.equal(port.untranslated, undefined, 'it was fed');
  t.strictSame(read(), added(packet(70, 3), 1));
  t.strictSame(port.untranslated, packet(70, 3));
  read();
  t.strictSame(port.untranslated, packet(60, 9));
  translation.begin(undefined);
  tap.incoming.push(packet(80, 9));
  t.strictSame(read(), packet(80, 9));
  t.equal(port.untranslated, undefined);
});

test('a translation is saved as long as there is one', async (t) => {
  const translation = new SharedTranslation();
  t.equal(translation.save(), undefined);
  const adding = new Adding();
  translation.begin(adding);
  t.equal(translation.save(), adding.saved);
});

test('once nothing is translated any more, packets go their own way', async (t) => {
  const { tap, port, translation, read, write } = replicaRig(t);
  const adding = new Adding();
  port.endFeed();
  translation.begin(adding);
  adding.size = 0;
  t.equal(write(packet(90, 4)), 90);
  t.ok(adding.scans > 0);
  t.notOk(translation.isActive);
  t.equal(write(packet(90, 5)), 90);
  t.strictSame(tap.sent.at(-1), packet(90, 5));
  tap.incoming.push(packet(60, 9));
  t.strictSame(read(), packet(60, 9));
});

test('a translation without connections is none', async (t) => {
  const translation = new SharedTranslation();
  const adding = new Adding();
  adding.size = 0;
  translation.begin(adding);
  t.notOk(translation.isActive);
});
