import { test } from 'tap';
import { FlowKey, keyText } from '../../../../src/colo/packet/flow-key.ts';
import { type Flow, FlowTable } from '../../../../src/colo/packet/flow-table.ts';
import { PacketView } from '../../../../src/colo/packet/packet-view.ts';
import { etherType } from '../../../../src/colo/packet/wire.ts';
import { frame, icmpPacket, ipPacket, tcpPacket, udpPacket } from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';

const view = new PacketView();

function outgoing(packet: Uint8Array, card = 0, seed = 1): FlowKey {
  const key = new FlowKey(seed);
  view.read(packet, 0, packet.length);
  key.setOutgoing(card, view);
  return key;
}

function incoming(packet: Uint8Array): FlowKey {
  const key = new FlowKey(1);
  view.read(packet, 0, packet.length);
  key.setIncoming(0, view);
  return key;
}

const same = (a: FlowKey, b: FlowKey): boolean => a.hash === b.hash && a.isAt(b.words, 0);

test('both directions of a connection have one key', async (t) => {
  const to = { source: [1, 2, 3, 4], destination: [5, 6, 7, 8], sourcePort: 80, destinationPort: 5555 };
  const back = { source: [5, 6, 7, 8], destination: [1, 2, 3, 4], sourcePort: 5555, destinationPort: 80 };
  t.ok(same(outgoing(tcpPacket(to)), incoming(tcpPacket(back))));
  t.notOk(same(outgoing(tcpPacket(to)), incoming(tcpPacket(to))));
  const six = [...new Array(15).fill(9), 1];
  const other = [...new Array(15).fill(8), 2];
  t.ok(
    same(
      outgoing(tcpPacket({ ...to, version: 6, source: six, destination: other })),
      incoming(tcpPacket({ ...back, version: 6, source: other, destination: six })),
    ),
  );
});

test('addresses that were chosen to collide do so by chance only, whatever the seed', async (t) => {
  // Of one /64, with differences in its words 8 and 9 that would cancel in h = (h ^ word) * K; h ^= h >>> 15.
  for (const seed of [1, 2, 0x7fff_ffff, 0x1234_5678, -1]) {
    const hashes = new Set<number>();
    const buckets = new Set<number>();
    const key = new FlowKey(seed);
    let keys = 0;
    for (let d = 0; d < 256; d++) {
      for (let e = 0; e < 256; e++) {
        const third = (0x1122_3344 ^ (d << 24)) | 0;
        const fourth = (0x5566_7788 ^ (e << 24) ^ (e << 9)) | 0;
        key.setSaved([0x606, 0, 0x2001_0db8, 0, 0, 1, 0x2001_0db8, 7, third, fourth, (80 << 16) | 4000]);
        hashes.add(key.hash);
        buckets.add(key.hash & 0x7fff);
        keys++;
      }
    }
    t.ok(hashes.size > keys - 16, `seed ${seed}: ${keys - hashes.size} of ${keys} collide`);
    // Of so many balls in half as many bins 86 % are hit.
    t.ok(buckets.size > 0x8000 * 0.85, `seed ${seed}: ${buckets.size} buckets`);
  }
});

test('everything that tells connections apart is in the key', async (t) => {
  const key = outgoing(tcpPacket());
  t.ok(same(key, outgoing(tcpPacket({ sequence: 7, acknowledgement: 8, payload: 'more', id: 3, ttl: 9 }))));
  const others = [
    outgoing(tcpPacket(), 1),
    outgoing(udpPacket({ sourcePort: 80 })),
    outgoing(tcpPacket({ sourcePort: 81 })),
    outgoing(tcpPacket({ destinationPort: 40_113 })),
    outgoing(tcpPacket({ source: [192, 0, 2, 2] })),
    outgoing(tcpPacket({ destination: [198, 51, 100, 8] })),
    outgoing(tcpPacket({ tags: [[etherType.vlan, 5]] })),
    outgoing(tcpPacket({ version: 6 })),
    outgoing(ipPacket(new Uint8Array(20), { fragment: 1 })),
    outgoing(frame([], { type: etherType.ipv4 })),
    outgoing(frame([], { type: 0x88cc })),
    outgoing(frame([], { type: 0x88cc }), 1),
  ];
  for (const [index, one] of [key, ...others].entries()) {
    for (const [other, another] of [key, ...others].entries()) {
      if (index !== other) t.notOk(one.isAt(another.words, 0), `${index} and ${other}`);
    }
  }
  for (const byte of [0, 5, 10, 15]) {
    const address = new Array(16).fill(0);
    const plain = outgoing(tcpPacket({ version: 6, source: address }));
    t.notOk(same(plain, outgoing(tcpPacket({ version: 6, source: address.with(byte, 1) }))));
    t.notOk(same(plain, outgoing(tcpPacket({ version: 6, destination: address.with(byte, 1) }))));
  }
  const six = outgoing(tcpPacket({ version: 6 }));
  view.read(tcpPacket(), 0, tcpPacket().length);
  six.setOutgoing(0, view);
  t.ok(same(six, key), 'nothing of the key before is left');
  t.not(outgoing(tcpPacket(), 0, 2).hash, key.hash, 'nobody outside knows the hash');
});

test('keys as people read them', async (t) => {
  const text = (packet: Uint8Array): string => keyText(outgoing(packet).words);
  t.equal(text(tcpPacket()), 'tcp 192.0.2.1:80 - 198.51.100.7:40112');
  t.equal(text(tcpPacket({ sourcePort: 65_535 })), 'tcp 192.0.2.1:65535 - 198.51.100.7:40112');
  t.equal(text(udpPacket({ version: 6 })), 'udp [2001:db8::1]:53 - [2001:db8::7]:40112');
  t.equal(text(icmpPacket(8, 0, [0, 0, 0, 0])), 'icmp 192.0.2.1 - 198.51.100.7');
  const six = { version: 6, source: new Array(16).fill(0), destination: new Array(16).fill(0x11) } as const;
  t.equal(text(icmpPacket(8, 0, [0, 0, 0, 0], six)), 'icmp6 :: - 1111:1111:1111:1111:1111:1111:1111:1111');
  const holes = [0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0];
  t.match(text(icmpPacket(8, 0, [0, 0, 0, 0], { ...six, source: holes })), 'icmp6 1:0:2::3:0 - ');
  const end = [0x10, 0, ...new Array(14).fill(0)];
  t.match(text(icmpPacket(8, 0, [0, 0, 0, 0], { ...six, source: end })), 'icmp6 1000:: - ');
  t.equal(text(ipPacket([1, 2], { protocol: 47 })), 'protocol 47 192.0.2.1 - 198.51.100.7');
  t.equal(text(ipPacket(new Uint8Array(8), { fragment: 1 })), 'tcp fragments 192.0.2.1 - 198.51.100.7');
  t.equal(text(frame([])), 'malformed packets');
  t.equal(text(frame([], { type: 0x88cc })), 'frames that are not IP');
});

interface Named extends Flow {
  name: string;
  kept: boolean;
}

function table(capacity: number): FlowTable<Named> {
  return new FlowTable<Named>(
    capacity,
    (index) => ({ index, name: '', kept: false }),
    ({ kept }) => !kept,
  );
}

const port = (sourcePort: number): FlowKey => outgoing(tcpPacket({ sourcePort }));

function add(flows: FlowTable<Named>, sourcePort: number): Named | undefined {
  const flow = flows.add(port(sourcePort));
  if (flow !== undefined) {
    flow.name = String(sourcePort);
    flow.kept = false;
  }
  return flow;
}

test('a connection that was added is found, until it is removed', async (t) => {
  const flows = table(3);
  t.equal(flows.find(port(1)), undefined);
  const one = add(flows, 1) as Named;
  const two = add(flows, 2) as Named;
  t.equal(flows.find(port(1)), one);
  t.equal(flows.find(port(2)), two);
  t.equal(flows.size, 2);
  flows.remove(one);
  t.equal(flows.find(port(1)), undefined);
  t.equal(flows.find(port(2)), two);
  t.equal(flows.size, 1);
  t.equal(add(flows, 3), one, 'its place is used again');
  const names: string[] = [];
  flows.forEach(({ name }) => {
    names.push(name);
  });
  t.strictSame(names, ['3', '2'], 'the one used last first');
});

test('a full table forgets who was unused longest, but not who must be kept', async (t) => {
  const flows = table(3);
  for (const number of [1, 2, 3]) add(flows, number);
  flows.find(port(1));
  add(flows, 4);
  t.equal(flows.forgotten, 1);
  t.strictSame(
    [1, 2, 3, 4].map((number) => flows.find(port(number))?.name),
    ['1', undefined, '3', '4'],
  );
  (flows.find(port(1)) as Named).kept = true;
  flows.find(port(3));
  flows.find(port(4));
  t.ok(add(flows, 5));
  t.equal(flows.find(port(3)), undefined, 'the next one that may go');
  flows.forEach((flow) => {
    flow.kept = true;
  });
  t.equal(add(flows, 6), undefined, 'there is no room');
  t.equal(flows.size, 3);
  t.equal(flows.forgotten, 2);
});

test('one that has retired goes first, unless it has been found since', async (t) => {
  const flows = table(4);
  const [one, two, three] = [1, 2, 3, 4].map((number) => add(flows, number)) as [Named, Named, Named, Named];
  flows.retire(three);
  flows.retire(two);
  flows.retire(one);
  const names: string[] = [];
  flows.forEach(({ name }) => {
    names.push(name);
  });
  t.strictSame(names, ['4', '1', '2', '3'], 'each is there, once');
  t.equal(flows.find(port(3)), three, 'and is found');
  flows.retire(one);
  add(flows, 5);
  t.equal(flows.find(port(2)), undefined, 'the first of those that are retired still');
  add(flows, 6);
  t.equal(flows.find(port(1)), undefined);
  add(flows, 7);
  t.equal(flows.find(port(4)), undefined, 'none is: the one that was unused longest');
  t.equal(flows.find(port(3)), three);
  flows.retire(three);
  flows.remove(three);
  t.equal(flows.size, 3);
  t.ok(add(flows, 8));
  t.equal(flows.forgotten, 3, 'there was room');
});

test('a table that was not told who may go forgets only those that have retired', async (t) => {
  const flows = new FlowTable<Flow>(2, (index) => ({ index }));
  flows.add(port(1));
  const two = flows.add(port(2)) as Flow;
  t.equal(flows.add(port(3)), undefined);
  flows.retire(two);
  t.equal(flows.add(port(3)), two);
  t.equal(flows.add(port(4)), undefined);
});

test('as a map does it, in any order', async (t) => {
  const random = randomNumbers(11);
  const flows = table(64);
  const model = new Map<number, Named>();
  for (let run = 0; run < 5000; run++) {
    const number = 1 + random(100);
    const flow = flows.find(port(number));
    t.equal(flow, model.get(number)) || t.bailout(`run ${run}`);
    if (flow !== undefined && random(2) === 0) {
      flows.remove(flow);
      model.delete(number);
    } else if (flow === undefined && model.size < 64) {
      model.set(number, add(flows, number) as Named);
    } else if (flow !== undefined) flows.retire(flow);
    if (flows.size !== model.size) t.bailout(`run ${run}: the size`);
  }
});
