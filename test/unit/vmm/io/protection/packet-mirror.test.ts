import { type Test, test } from 'tap';
import type { NetState } from '../../../../../src/devices/net/net-state.ts';
import { close, createPipe, tryRead } from '../../../../../src/host/libc/descriptors.ts';
import { RecordConsumer, recordRingStorage } from '../../../../../src/host/threads/record-ring.ts';
import { CardPort } from '../../../../../src/vmm/io/protection/card-port.ts';
import { PacketMirror } from '../../../../../src/vmm/io/protection/packet-mirror.ts';
import {
  cardOfKind,
  newSharedPackets,
  PacketControl,
  packetMode,
} from '../../../../../src/vmm/platform/packet-rings.ts';
import { OpenEpoch } from '../../../../../src/vmm/platform/shared-protection.ts';
import { type NetRig, netRig, packet } from '../../../devices/net/net-rig.ts';

/** Room for two packets of 500 bytes. */
const smallRing = 2048;

/** Two cards that are mirrored, and the other ends of the rings. */
function mirrorRig(t: Test, ringBytes = smallRing) {
  const rigs = [netRig(t), netRig(t)] as const;
  const [listener, bell] = createPipe();
  t.teardown(() => {
    close(listener);
    close(bell);
  });
  const rung = (): boolean => tryRead(listener, new Uint8Array(8)) > 0;
  const control = new PacketControl();
  control.mode = packetMode.mirrored;
  const packets = {
    control: control.storage,
    outbox: recordRingStorage(ringBytes),
    mirror: recordRingStorage(ringBytes),
  };
  const epoch = new OpenEpoch();
  const ports = [new CardPort(rigs[0].port), new CardPort(rigs[0].port)] as const;
  const make = (): PacketMirror =>
    new PacketMirror(
      rigs.map(({ device }, number) => ({ device, port: ports[number] as CardPort })),
      { packets, epoch: epoch.storage, bell },
    );
  let wakes = 0;
  const mirror = make();
  const wake = (): void => {
    wakes++;
    mirror.woken();
    for (const rig of rigs) rig.work();
  };
  const outbox = new RecordConsumer(packets.outbox, wake);
  const input = new RecordConsumer(packets.mirror, wake);
  return { rigs, ports, control, epoch, mirror, outbox, input, rung, wakes: () => wakes };
}

/** The next record as [card, epoch, packet]. */
function take(ring: RecordConsumer): [number, number, Uint8Array] | undefined {
  if (!ring.next()) return undefined;
  const { kind, tag, offset, length, bytes } = ring;
  return [cardOfKind(kind), tag, Uint8Array.from(bytes.subarray(offset, offset + length))];
}

function send(rig: NetRig, ...packets: Uint8Array[]): void {
  for (const bytes of packets) rig.transmit.add([{ read: bytes }]);
  rig.driver.kick(1);
}

test('what the guest sends goes into the outbox with its card and epoch, and no further', async (t) => {
  const { rigs, epoch, outbox, input } = mirrorRig(t);
  const [first, second] = rigs;
  send(first, packet(100, 1));
  epoch.number = 5;
  send(second, packet(200, 2));
  t.strictSame(take(outbox), [0, 0, packet(100, 1)]);
  t.strictSame(take(outbox), [1, 5, packet(200, 2)]);
  t.equal(take(outbox), undefined);
  t.equal(take(input), undefined);
  t.strictSame([first.port.sent, second.port.sent], [[], []]);
  t.equal(first.transmit.collect().length, 1, 'the driver has its buffer back');
});

test("what a survivor's guest gets in its own numbers is mirrored as it came, also where it has to wait for room", async (t) => {
  const { rigs, ports, input, wakes } = mirrorRig(t);
  const [first] = rigs;
  let came: Uint8Array | undefined;
  Object.defineProperty(ports[0], 'untranslated', { get: () => came });
  for (let buffer = 0; buffer < 4; buffer++) first.receive.add([{ write: 1000 }]);
  // What the guest gets is packet 1 to 4; as they came from the world they were 11 to 14.
  for (const seed of [1, 2, 3]) {
    came = packet(900, 10 + seed);
    first.arrive(packet(900, seed));
  }
  t.strictSame(take(input), [0, 0, packet(900, 11)]);
  input.giveBack();
  t.strictSame(take(input), [0, 0, packet(900, 12)]);
  input.giveBack();
  t.ok(wakes() > 0, 'the third one has waited');
  t.strictSame(take(input), [0, 0, packet(900, 13)]);
  came = undefined;
  input.giveBack();
  first.arrive(packet(900, 4));
  t.strictSame(take(input), [0, 0, packet(900, 4)], 'and again as they come');
  t.equal(first.receive.collect().length, 4);
});

test('what enters the guest goes into the mirror too', async (t) => {
  const { rigs, epoch, input, outbox } = mirrorRig(t);
  epoch.number = 3;
  const [, second] = rigs;
  second.receive.add([{ write: 200 }]);
  second.arrive(packet(100, 1));
  t.strictSame(take(input), [1, 3, packet(100, 1)]);
  t.equal(take(outbox), undefined);
  t.equal(second.receive.collect()[0]?.length, 100);
});

test('output that finds no room waits in its queue, and goes on as soon as there is some', async (t) => {
  const { rigs, outbox, wakes } = mirrorRig(t);
  const [rig, other] = rigs;
  const packets = [1, 2, 3, 4, 5].map((seed) => packet(500, seed));
  send(rig, ...packets);
  send(other, packet(500, 9));
  const taken: unknown[] = [];
  for (let record = take(outbox); record !== undefined; record = take(outbox)) {
    taken.push(record[2]);
    outbox.giveBack();
  }
  t.ok(wakes() > 0);
  t.strictSame(
    taken.filter((bytes) => (bytes as Uint8Array)[20] !== packet(500, 9)[20]),
    packets,
    'in order',
  );
  t.equal(taken.length, 6, 'and the other card did not starve');
  t.strictSame([rig.port.sent.length, other.port.sent.length], [0, 0]);
});

test('output that waits is still in its queue when the machine is saved', async (t) => {
  const { rigs } = mirrorRig(t);
  const [rig] = rigs;
  send(rig, ...[1, 2, 3, 4, 5].map((seed) => packet(500, seed)));
  rig.transport.pause();
  const taken = rig.transport.save().positions[1]?.nextAvail ?? 0;
  t.ok(taken > 0 && taken < 5, `${taken} of 5 are taken`);
});

test('input that finds no room in the mirror does not enter the guest before there is', async (t) => {
  const { rigs, input } = mirrorRig(t);
  const [rig] = rigs;
  for (let count = 0; count < 6; count++) rig.receive.add([{ write: 600 }]);
  const packets = [1, 2, 3, 4, 5].map((seed) => packet(500, seed));
  rig.arrive(...packets);
  const entered = rig.receive.collect().length;
  t.ok(entered < 5, `${entered} of 5`);
  const taken: unknown[] = [];
  for (let record = take(input); record !== undefined; record = take(input)) {
    taken.push(record[2]);
    input.giveBack();
  }
  t.strictSame(taken, packets);
  t.equal(rig.receive.collect().length, 5 - entered);
});

test('in an epoch in which input waits nothing enters the guest, nor the mirror, until that is over', async (t) => {
  const { rigs, control, epoch, mirror, input } = mirrorRig(t);
  const [rig] = rigs;
  for (let count = 0; count < 4; count++) rig.receive.add([{ write: 600 }]);
  control.inputWaitsIn = 1;
  rig.arrive(packet(300, 1));
  t.strictSame(take(input), [0, 0, packet(300, 1)], 'the epoch before is as ever');
  epoch.number = 1;
  rig.arrive(packet(300, 2), packet(300, 3));
  t.equal(take(input), undefined);
  t.equal(rig.receive.collect().length, 1);
  control.inputWaitsIn = undefined;
  mirror.woken();
  rig.work();
  t.strictSame(take(input), [0, 1, packet(300, 2)]);
  t.strictSame(take(input), [0, 1, packet(300, 3)]);
  t.equal(rig.receive.collect().length, 2);
});

test('nobody waits for the other guest once nothing is mirrored any more', async (t) => {
  const { rigs, control } = mirrorRig(t);
  const [rig] = rigs;
  rig.receive.add([{ write: 600 }]);
  control.inputWaitsIn = 0;
  control.mode = packetMode.draining;
  rig.arrive(packet(300, 1));
  t.equal(rig.receive.collect().length, 1);
});

test('a card that is reset while a packet waits for room has nothing of the old guest', async (t) => {
  const { rigs, input, mirror } = mirrorRig(t);
  const [rig] = rigs;
  for (let count = 0; count < 6; count++) rig.receive.add([{ write: 600 }]);
  rig.arrive(...[1, 2, 3, 4, 5].map((seed) => packet(500, seed)));
  rig.transport.pause();
  rig.transport.powerCycle();
  while (input.next()) input.giveBack();
  mirror.woken();
  rig.work();
  t.equal((rig.transport.save().device as NetState).waiting.length, 0);
});

test('while the outbox drains nothing is added to it, and then the guest speaks for itself', async (t) => {
  const { rigs, control, outbox, input } = mirrorRig(t);
  const [rig] = rigs;
  send(rig, packet(300, 1), packet(300, 2));
  control.mode = packetMode.draining;
  send(rig, packet(300, 3));
  t.strictSame(rig.port.sent, [], 'it would overtake');
  t.strictSame(take(outbox)?.[2], packet(300, 1));
  outbox.giveBack();
  t.strictSame(rig.port.sent, []);
  t.strictSame(take(outbox)?.[2], packet(300, 2));
  t.equal(outbox.next(), false);
  outbox.giveBack();
  t.strictSame(rig.port.sent, [packet(300, 3)]);
  send(rig, packet(300, 4));
  t.equal(rig.port.sent.length, 2);
  rig.receive.add([{ write: 600 }]);
  rig.arrive(packet(300, 5));
  t.equal(rig.receive.collect().length, 1);
  t.equal(input.next(), false, 'nobody is told of input any more');
});

test('cards that nobody mirrors any more send what had to wait', async (t) => {
  const { rigs, mirror } = mirrorRig(t);
  const [rig] = rigs;
  send(rig, ...[1, 2, 3, 4, 5].map((seed) => packet(500, seed)));
  mirror.close();
  rig.work();
  const { sent } = rig.port;
  t.ok(sent.length > 0);
  t.strictSame(sent.at(-1), packet(500, 5));
});

test('rings the bell only for somebody who sleeps', async (t) => {
  const { rigs, outbox, rung } = mirrorRig(t);
  send(rigs[0], packet(100, 1));
  t.equal(rung(), false);
  while (outbox.next());
  t.ok(outbox.sleep());
  send(rigs[0], packet(100, 2), packet(100, 3));
  t.equal(rung(), true);
});

test('packets go past new rings', async (t) => {
  const { control, outbox } = newSharedPackets();
  t.equal(new PacketControl(control).mode, packetMode.direct);
  t.ok(new PacketControl(control).letsIn(0));
  t.equal(new RecordConsumer(outbox, () => {}).next(), false);
});
