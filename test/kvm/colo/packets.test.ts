import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { specification } from '../../../src/colo/core/rules.ts';
import { newSharedDisks } from '../../../src/colo/disk/shared-disks.ts';
import { KeptPackets } from '../../../src/colo/gate/kept-packets.ts';
import { PrimaryPackets } from '../../../src/colo/gate/primary-packets.ts';
import { tapsOf } from '../../../src/colo/gate/tap-writer.ts';
import { CheckpointSource } from '../../../src/colo/machine/checkpoint-source.ts';
import { shapeOfMachine } from '../../../src/colo/machine/machine-shapes.ts';
import { StandbyMachine } from '../../../src/colo/machine/standby-machine.ts';
import { tcpFlag } from '../../../src/colo/packet/wire.ts';
import type { Message, Packet } from '../../../src/colo/protocol/messages.ts';
import { epoch } from '../../../src/colo/protocol/numbers.ts';
import { IoThreadSigns } from '../../../src/colo/side/signs-of-life.ts';
import { roundTripTicks } from '../../../src/colo/translate/settings.ts';
import { EventFd } from '../../../src/host/events/eventfd.ts';
import { tryRead } from '../../../src/host/libc/descriptors.ts';
import { Doorbell } from '../../../src/host/threads/doorbell.ts';
import type { Machine } from '../../../src/vmm/machine/machine.ts';
import { IoControl } from '../../../src/vmm/platform/io-control.ts';
import { newSharedPackets } from '../../../src/vmm/platform/packet-rings.ts';
import { packReplayed, type ReplayedPackets } from '../../../src/vmm/platform/replayed-packets.ts';
import { EpochSeed, OpenEpoch, type SharedProtection } from '../../../src/vmm/platform/shared-protection.ts';
import { phase } from '../../../src/vmm/thread/thread-control.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, forAWhile, takeOutput, until, vcpuProgram } from '../../support/machines.ts';
import { tcpPacket } from '../../support/packets.ts';
import { freeName, ip, makeInterface, noTaps } from '../../support/taps.ts';
import { TranslateRig } from '../../support/translate-rig.ts';
import { echoed, echoing } from '../../support/virtio-guests.ts';

const skip = noKvm() || noTaps();
const mac = '02:00:00:00:00:07';

/** A TAP to which the kernel sends nothing by itself. */
function quietTap(t: Test): string {
  const name = makeInterface(t, 'tap');
  ip('link', 'set', name, 'addrgenmode', 'none');
  return name;
}

/** Packets whose letters an echoing guest prints. */
function letters(text: string): ReplayedPackets {
  const packets = Array.from(text, (letter) => {
    const packet = new Uint8Array(echoed.bytes);
    packet.fill(0xff, 12, 18);
    packet.set([2, 0, 0, 0, 0, 9], 18);
    packet[echoed.letter] = letter.charCodeAt(0);
    return { card: 0, packet };
  });
  return packReplayed(packets);
}

/** Frames that a TAP's interface got from the machine. */
function framesFrom(tap: string): number {
  return Number(readFileSync(`/sys/class/net/${tap}/statistics/rx_packets`, 'latin1'));
}

function sharedProtection(t: Test): { shared: SharedProtection; bell: Doorbell; open: OpenEpoch } {
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  const open = new OpenEpoch();
  return {
    shared: {
      epoch: open.storage,
      seed: new EpochSeed().storage,
      bell: bell.button,
      packets: newSharedPackets(),
      disks: newSharedDisks(2 ** 20),
    },
    bell,
    open,
  };
}

/** Waits until the machine has printed as much as a text has; whether it is that. */
function prints(machine: Machine): (text: string) => Promise<boolean> {
  let all = '';
  return async (text) => {
    await until(() => {
      all += takeOutput(machine);
      return all.length >= text.length;
    });
    return all === text;
  };
}

test('from when it is protected a machine says nothing of itself: what announces it passes no gate', {
  skip,
}, async (t) => {
  const tap = quietTap(t);
  const devices = { disks: [], nets: [{ tap, mac, offload: true }], rng: { kind: 'none' } } as const;
  const machine = bootMachine(t, echoing(0, '>'), { devices });
  t.ok(await prints(machine)('>'));
  const longerThanAnnounced = 1000;
  machine.pause();
  machine.announce();
  await forAWhile(longerThanAnnounced);
  const all = framesFrom(tap);
  t.ok(all > 1, 'it is announced several times');

  machine.announce();
  machine.replication.protect(sharedProtection(t).shared);
  await forAWhile(longerThanAnnounced);
  t.equal(framesFrom(tap), all + 1);
});

test('a protected guest is heard by the standby first from when output is held, and speaks for itself before and after', {
  skip,
}, async (t) => {
  const tap = quietTap(t);
  const devices = { disks: [], nets: [{ tap, mac, offload: true }], rng: { kind: 'none' } } as const;
  const machine = bootMachine(t, echoing(0, '>'), { devices });
  const printed = prints(machine);
  t.ok(await printed('>'));

  const { shared, bell, open } = sharedProtection(t);
  machine.replication.protect(shared);
  machine.replication.replay(letters('abc'));
  t.ok(await printed('>abc'), 'what is replayed enters the guest');
  await until(() => framesFrom(tap) === 3);

  const sent: Message[] = [];
  const wake = new EventFd(machine.replication.ioReach?.wake);
  const packets = new PrimaryPackets({
    shared: shared.packets,
    taps: tapsOf(machine.replication.deviceOrders),
    rules: specification,
    flush: () => {},
    send: (message) => {
      sent.push('data' in message ? { ...message, data: Uint8Array.from(message.data) } : message);
      return true;
    },
    post: () => {},
    now: () => performance.now(),
    wakeIo: () => wake.signal(),
  });
  t.teardown(() => packets.close());
  const spelled = (kind: string): string =>
    sent
      .filter((message): message is Packet => message.kind === kind)
      .map(({ epoch, data }) => `${epoch}${String.fromCharCode(data[echoed.letter] as number)}`)
      .join(' ');
  // A letter is printed before it is answered.
  const sentOutputs = (text: string) =>
    until(async () => {
      if (await bell.next(5)) packets.work();
      return spelled('output') === text;
    });
  packets.work();
  t.strictSame(sent, [], 'nothing is held');

  packets.hold();
  machine.replication.replay(letters('d'));
  await sentOutputs('0d');
  t.equal(spelled('input'), '0d');
  machine.whilePaused(() => {
    open.number = 1;
  });
  packets.epochCaptured(epoch(0));
  machine.replication.replay(letters('e'));
  await sentOutputs('0d 1e');
  t.equal(spelled('input'), '0d 1e');
  t.equal(packets.facts.packets, 2);
  t.strictSame(
    sent.find(({ kind }) => kind === 'packets-end'),
    { kind: 'packets-end', epoch: 0, items: 2 },
  );
  t.equal(framesFrom(tap), 3);
  packets.permit(epoch(1), Number.POSITIVE_INFINITY);
  t.equal(framesFrom(tap), 5);

  packets.open();
  await packets.detach();
  machine.replication.unprotect();
  machine.replication.replay(letters('f'));
  t.ok(await printed('>abcdef'));
  await until(() => framesFrom(tap) === 6);
  t.equal(spelled('output'), '0d 1e', 'by itself');
});

test('connections that a survivor translates go on at its next standby', { skip }, async (t) => {
  const card = () => ({ tap: quietTap(t), mac, offload: true });
  const survivor = bootMachine(t, echoing(0, '>'), { devices: { disks: [], nets: [card()], rng: { kind: 'none' } } });
  t.ok(await prints(survivor)('>'));
  const rig = new TranslateRig();
  rig.out(tcpPacket({ destinationPort: 7, flags: tcpFlag.syn | tcpFlag.ack }));
  survivor.hold();
  t.equal(survivor.replication.translation, undefined);
  t.throws(() => survivor.replication.translate({ state: {}, aheadTicks: 0 }), { message: /connections cannot go on/ });
  survivor.replication.translate({ state: rig.translator.save(), aheadTicks: 0 });
  survivor.release();

  const source = new CheckpointSource(survivor, new OpenEpoch(), new EpochSeed());
  t.teardown(() => source.detach());
  const { state } = source.capture(epoch(0));
  const bytes = new Uint8Array(state.storage, 0, state.sizeBytes);
  const standby = new StandbyMachine(shapeOfMachine(survivor), { disk: [], net: [card()] }, vcpuProgram);
  t.teardown(() => standby.discard());
  standby.revive(bytes, 0);
  t.equal(standby.emerge(undefined), 0, 'it goes on, though nobody has answered it yet');
  const flows = rig.translator.save().flows.map((flow) => ({ ...flow, timeOffset: roundTripTicks }));
  t.strictSame(
    standby.machine.replication.translation,
    { flows },
    'its timestamps are ahead of what clients have seen',
  );
});

test('the io thread turns when it is nudged, and while it is parked it need not', { skip }, async (t) => {
  const devices = { disks: [], nets: [{ tap: quietTap(t), mac, offload: true }], rng: { kind: 'none' } } as const;
  const machine = bootMachine(t, echoing(0, '>'), { devices });
  t.ok(await prints(machine)('>'));
  const { ioReach } = machine.replication;
  if (ioReach === undefined) throw new Error('it has no io thread');
  const io = new IoThreadSigns(ioReach);
  // It sleeps when the guest has nothing for it any more.
  await until(() => !io.turned());
  io.nudge();
  await until(() => io.turned());
  machine.pause();
  t.ok(io.turned() && io.turned());
  machine.stop('the test', 0);
  await until(() => new IoControl(ioReach.control).phase === phase.ended);
  io.turned();
  t.notOk(io.turned());
});

test('a standby neither reads its TAP nor is learned from, and throws away what came meanwhile', {
  skip,
}, async (t) => {
  const bridge = makeInterface(t, 'bridge');
  ip('link', 'set', bridge, 'addrgenmode', 'none', 'up');
  ip('address', 'add', '198.18.71.5/30', 'broadcast', '198.18.71.7', 'dev', bridge);
  const primary = bootMachine(t, echoing(0, '>'), {
    devices: { disks: [], nets: [{ tap: freeName(), mac, offload: true }], rng: { kind: 'none' } },
  });
  const tap = freeName();
  const standby = new StandbyMachine(
    shapeOfMachine(primary),
    { disk: [], net: [{ tap, bridge, offload: true }] },
    vcpuProgram,
  );
  t.teardown(() => standby.discard());

  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, '198.18.71.5', resolve));
  socket.setBroadcast(true);
  const framesTo = (): number => Number(readFileSync(`/sys/class/net/${tap}/statistics/tx_packets`, 'latin1'));
  const readBefore = framesTo();
  for (let count = 0; count < 3; count++) {
    await new Promise((resolve) => socket.send('to all', 9, '198.18.71.7', resolve));
  }
  await forAWhile(50);
  t.equal(framesTo(), readBefore, 'nobody reads it');

  const [fd] = tapsOf(standby.machine.replication.deviceOrders);
  if (fd === undefined) throw new Error('it has no card');
  t.ok(tryRead(fd, new Uint8Array(2000)) > 42, 'though there is something');
  new KeptPackets([fd], specification).drainTaps();
  t.ok(tryRead(fd, new Uint8Array(2000)) < 0);
  t.equal(framesFrom(tap), 0);
  const { stdout } = spawnSync('bridge', ['fdb', 'show', 'br', bridge, 'brport', tap], { encoding: 'utf8' });
  const learned = stdout.split('\n').filter((line) => line !== '' && !line.includes('permanent'));
  t.strictSame(learned, []);
});
