import { type Test, test } from 'tap';
import type { NetState } from '../../../../../src/devices/net/net-state.ts';
import { close, createPipe } from '../../../../../src/host/libc/descriptors.ts';
import { RecordConsumer, RecordProducer } from '../../../../../src/host/threads/record-ring.ts';
import { CardPort } from '../../../../../src/vmm/io/protection/card-port.ts';
import { IoProtection } from '../../../../../src/vmm/io/protection/io-protection.ts';
import { PacketMirror } from '../../../../../src/vmm/io/protection/packet-mirror.ts';
import {
  kindOfCard,
  newSharedPackets,
  newSharedReplica,
  PacketControl,
  packetMode,
} from '../../../../../src/vmm/platform/packet-rings.ts';
import { packReplayed } from '../../../../../src/vmm/platform/replayed-packets.ts';
import { OpenEpoch } from '../../../../../src/vmm/platform/shared-protection.ts';
import { goOnElsewhere } from '../../../../support/go-on-elsewhere.ts';
import { type NetRig, netRig, packet } from '../../../devices/net/net-rig.ts';

/** Packets that a driver has got since, by a byte of each. */
function received(rig: NetRig): number[] {
  return rig.receive.collect().map(({ bytes }) => bytes[20] as number);
}

/** A packet, and what {@link received} tells of it. */
const waits = packet(500, 1);
const later = packet(500, 2);
const [isWaiting, isLater] = [waits[20], later[20]];

/**
 * The primary's card at checkpoint 1, at which a packet waits for its turn, and the standby's, which has been given its state.
 *
 * @param runs the standby's guest runs from there (comparing)
 */
function pairOfCards(t: Test, isReplica: boolean, runs = isReplica) {
  const [reader, bell] = createPipe();
  t.teardown(() => {
    close(reader);
    close(bell);
  });
  const primary = netRig(t);
  const shared = newSharedPackets();
  const control = new PacketControl(shared.control);
  control.mode = packetMode.mirrored;
  control.inputWaitsIn = 1;
  const open = new OpenEpoch();
  open.number = 1;
  new PacketMirror([{ device: primary.device, port: new CardPort(primary.port) }], {
    packets: shared,
    epoch: open.storage,
    bell,
  });
  const mirror = new RecordConsumer(shared.mirror, () => {});

  let port: CardPort | undefined;
  const standby = netRig(t, {
    before: (tap) => {
      port = new CardPort(tap);
      return port;
    },
  });
  const protection = new IoProtection();
  t.teardown(() => protection.close());
  protection.addCard({ device: standby.device, port: port as unknown as CardPort });
  const replica = newSharedReplica(1, bell);
  if (isReplica) protection.replicate(replica);
  const feed = new RecordProducer(replica.feeds[0] as SharedArrayBuffer, () => {});

  primary.receive.add([{ write: 1000 }]);
  primary.arrive(waits);
  const state = goOnElsewhere(primary, standby).device as NetState;
  t.strictSame(state.waiting, waits);
  protection.loaded();
  open.number = 2;
  new OpenEpoch(replica.epoch).number = 2;
  primary.transport.resume();
  if (runs) standby.transport.resume();
  const buffers = (rig: NetRig): void => {
    for (let count = 0; count < 4; count++) rig.receive.add([{ write: 1000 }]);
    rig.driver.kick(0);
    rig.work();
  };
  buffers(standby);
  return {
    primary,
    standby,
    protection,
    /** The primary's guest gets what waits, which the standby is told of. */
    mirrored: (): Uint8Array[] => {
      primary.device.toGuest.again();
      buffers(primary);
      const packets: Uint8Array[] = [];
      while (mirror.next()) packets.push(mirror.bytes.slice(mirror.offset, mirror.offset + mirror.length));
      return packets;
    },
    fed: (packets: readonly Uint8Array[]): void => {
      for (const bytes of packets) {
        feed.bytes.set(bytes, feed.reserve(bytes.length));
        feed.commit(kindOfCard(0), 2);
      }
      protection.woken();
      standby.work();
    },
    /** As Replica.rollBack has it. */
    rolledBack: (): void => {
      new OpenEpoch(replica.epoch).number = 0;
    },
    /** The standby's guest speaks for itself, having got these of what the primary's got. */
    takesOver: (packets: readonly Uint8Array[]): void => {
      standby.transport.pause();
      if (isReplica) protection.emerge(undefined, () => {});
      protection.replay(packReplayed(packets.map((bytes) => ({ card: 0, packet: bytes }))));
      standby.transport.resume();
      standby.work();
    },
  };
}

test('a packet that waited at a checkpoint enters the guest beside it once: when the primary mirrors it', async (t) => {
  const { primary, standby, mirrored, fed } = pairOfCards(t, true);
  t.strictSame(received(standby), [], 'not before the one of the primary, which has none yet');
  const packets = mirrored();
  t.strictSame(packets, [waits]);
  t.strictSame(received(primary), [isWaiting]);
  fed([...packets, later]);
  t.strictSame(received(standby), [isWaiting, isLater]);
});

for (const [how, isReplica, runs] of [
  ['a standby whose guest ran', true, true],
  ['a standby whose guest could have run', true, false],
  ['a standby that only stands by', false, false],
] as const) {
  test(`${how} takes over with a packet that waited at the checkpoint once, mirrored or not`, async (t) => {
    const before = pairOfCards(t, isReplica, runs);
    before.standby.port.incoming.push(later);
    before.takesOver([]);
    t.strictSame(received(before.standby), [isWaiting, isLater], 'before what is new');

    const after = pairOfCards(t, isReplica, runs);
    after.takesOver([...after.mirrored(), later]);
    t.strictSame(received(after.standby), [isWaiting, isLater]);
  });
}

test('a guest that ran has what waited, and gets it no more when it takes over', async (t) => {
  const { standby, mirrored, fed, takesOver } = pairOfCards(t, true);
  fed(mirrored());
  t.strictSame(received(standby), [isWaiting]);
  takesOver([]);
  t.strictSame(received(standby), []);
});

test('what is left of the feed stands for what waited, too', async (t) => {
  const { standby, mirrored, fed, takesOver } = pairOfCards(t, true);
  standby.transport.pause();
  fed(mirrored());
  takesOver([]);
  t.strictSame(received(standby), [isWaiting]);
});

test("what is left of the feed of a guest that was rolled back is nobody's: the checkpoint has it", async (t) => {
  const { standby, fed, rolledBack, takesOver } = pairOfCards(t, true);
  standby.transport.pause();
  fed([later]);
  rolledBack();
  takesOver([]);
  t.strictSame(received(standby), [isWaiting], 'what waited at the checkpoint, and nothing of what came after');
});

test('a packet that waits for buffers of the guest that ran is not what waited at the checkpoint', async (t) => {
  const { standby, fed, takesOver } = pairOfCards(t, true);
  // Five have room for a packet, and then there is room for a fifth of one.
  standby.receive.add([{ write: 100 }]);
  fed([waits, waits, waits, waits, waits, waits]);
  t.equal(received(standby).length, 5);
  takesOver([later]);
  for (let count = 0; count < 4; count++) standby.receive.add([{ write: 1000 }]);
  standby.driver.kick(0);
  standby.work();
  const [first, second, third] = standby.receive.collect().map(({ bytes }) => bytes);
  t.equal(first?.[20], isWaiting);
  t.equal((first?.length ?? 0) + (second?.length ?? 0), waits.length);
  t.equal(third?.[20], isLater);
});

test('a checkpoint at which nothing waits has none of what waited at the last one', async (t) => {
  const { primary, standby, mirrored, protection, takesOver } = pairOfCards(t, true);
  mirrored();
  received(primary);
  goOnElsewhere(primary, standby);
  protection.loaded();
  takesOver([]);
  t.strictSame(received(standby), []);
});
