import { test } from 'tap';
import { PacketRanges, type PacketSink, TapPoint } from '../../../../src/devices/net/packet-tap.ts';
import { DescriptorChain } from '../../../../src/devices/virtio/descriptor-chain.ts';
import { gpa, MiB } from '../../../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../../../src/memory/guest-memory.ts';

type Range = readonly [address: number, length: number];

const buffers: readonly Range[] = [
  [0x1000, 10],
  [0x2000, 20],
  [0x3000, 30],
];

function chainOf(): DescriptorChain {
  const chain = new DescriptorChain(8);
  chain.clear(0);
  for (const [address, length] of buffers) {
    chain.addresses[chain.count] = address;
    chain.lengths[chain.count++] = length;
  }
  // What an earlier request left there.
  chain.addresses[chain.count] = 0x4000;
  chain.lengths[chain.count] = 40;
  return chain;
}

function memoryOf(): GuestMemory {
  const memory = bufferedGuestMemory([{ start: gpa(0), sizeBytes: MiB, offset: 0 }]);
  for (const [address, length] of buffers) memory.write(gpa(address), new Uint8Array(length).fill(length));
  return memory;
}

const rangesOf = (packet: PacketRanges): Range[] =>
  Array.from({ length: packet.count }, (_, index) => [packet.addressOf(index), packet.lengthOf(index)]);

/** What a packet of the buffers has, byte by byte. */
const whole = buffers.flatMap(([, length]) => new Array<number>(length).fill(length));

test('a packet is as many bytes of the buffers named as it is long', async (t) => {
  const packet = new PacketRanges(memoryOf(), 8);
  const chain = chainOf();
  packet.append(chain, 0, 3, 60);
  t.strictSame(rangesOf(packet), buffers);
  t.equal(packet.length, 60);

  packet.clear();
  packet.append(chain, 1, 3, 45);
  t.strictSame(rangesOf(packet), [
    [0x2000, 20],
    [0x3000, 25],
  ]);
  t.equal(packet.length, 45);

  packet.clear();
  packet.append(chain, 0, 3, 10);
  t.strictSame(rangesOf(packet), [[0x1000, 10]], 'and no empty ranges');

  packet.clear();
  packet.append(chain, 0, 2, 100);
  t.strictSame(rangesOf(packet), buffers.slice(0, 2), 'nothing behind the last buffer named');
});

test('a packet has as many ranges as it needs, whatever room there was at first', async (t) => {
  const packet = new PacketRanges(memoryOf(), 1);
  const chain = chainOf();
  for (let time = 0; time < 3; time++) packet.append(chain, 0, 3, 60);
  t.strictSame(rangesOf(packet), [...buffers, ...buffers, ...buffers]);
  const target = new Uint8Array(180);
  t.equal(packet.copy(target), 180);
  t.strictSame([...target], [...whole, ...whole, ...whole]);
});

test('is copied as far as there is room, and no further than it is long', async (t) => {
  const packet = new PacketRanges(memoryOf(), 8);
  packet.append(chainOf(), 0, 3, 60);
  for (let room = 0; room <= 70; room++) {
    const target = new Uint8Array(room).fill(255);
    const expected = [...whole, ...new Array<number>(10).fill(255)].slice(0, room);
    const copied = packet.copy(target);
    if (copied !== Math.min(room, 60)) t.fail(`${copied} bytes into ${room}`);
    if (String([...target]) !== String(expected)) t.fail(`${room} bytes have ${target}`);
  }
  t.equal(packet.copy(new Uint8Array(60)), 60);
  packet.clear();
  packet.append(chainOf(), 0, 2, 30);
  const target = new Uint8Array(60);
  t.equal(packet.copy(target), 30, 'not what the packet before had behind it');
  t.strictSame([...target], [...whole.slice(0, 30), ...new Array<number>(30).fill(0)]);
});

test('takes packets of every length that a card has, and refuses others', async (t) => {
  const taken: number[] = [];
  const sink: PacketSink = { put: ({ length }) => taken.push(length) > 0, again: () => {} };
  const point = new TapPoint(sink);
  for (const length of [26, 27, 65_561, 65_562]) t.equal(point.put(new Uint8Array(length)), true);
  for (const length of [0, 25, 65_563]) {
    t.throws(() => point.put(new Uint8Array(length)), { message: `a packet has 26 to 65562 bytes, not ${length}` });
  }
  t.strictSame(taken, [26, 27, 65_561, 65_562]);
});
