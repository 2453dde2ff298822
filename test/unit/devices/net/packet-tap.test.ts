import { test } from 'tap';
import type { NetState } from '../../../../src/devices/net/net-state.ts';
import type { PacketListener, PacketRanges, TapPoint, Verdict } from '../../../../src/devices/net/packet-tap.ts';
import { EAGAIN } from '../../../../src/host/errno.ts';
import { type NetRig, netRig, packet } from './net-rig.ts';

/** Mirrors what it sees; while `hold` it keeps packets back, and releases them in order. */
class Replicator implements PacketListener {
  readonly mirrored: Uint8Array[] = [];
  readonly held: Uint8Array[] = [];
  hold = false;
  rooms = 0;
  readonly #point: TapPoint;

  constructor(point: TapPoint) {
    this.#point = point;
    point.listener = this;
  }

  packet(ranges: PacketRanges): Verdict {
    const copy = new Uint8Array(ranges.length);
    ranges.copy(copy);
    copy.fill(0, 10, 12); // num_buffers is not there yet
    this.mirrored.push(copy);
    if (!this.hold) return 'pass';
    this.held.push(copy);
    return 'hold';
  }

  room(): void {
    this.rooms++;
    this.release();
  }

  release(): void {
    for (let next = this.held[0]; next !== undefined; next = this.held[0]) {
      if (!this.#point.put(next)) return;
      this.held.shift();
    }
  }
}

function received(rig: NetRig): Uint8Array[] {
  const bytes = Buffer.concat(rig.receive.collect().map((answer) => answer.bytes));
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += 100) {
    const one = new Uint8Array(bytes.subarray(at, at + 100));
    one.fill(0, 10, 12);
    found.push(one);
  }
  return found;
}

const numbered = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => packet(100, from + index));

test('shows a listener every packet of its direction, in pieces, and lets it pass', async (t) => {
  const rig = netRig(t);
  const [inbound, outbound] = [new Replicator(rig.device.toGuest), new Replicator(rig.device.toWire)];
  for (let index = 0; index < 40; index++) rig.receive.add([{ write: 13 }, { write: 37 }]);
  rig.arrive(...numbered(0, 3));
  rig.transmit.add([{ read: packet(100, 7).subarray(0, 30) }, { read: packet(100, 7).subarray(30) }]);
  rig.driver.kick(1);
  t.strictSame(inbound.mirrored, numbered(0, 3));
  t.strictSame(received(rig), numbered(0, 3));
  t.strictSame(outbound.mirrored, [packet(100, 7)]);
  t.strictSame(rig.port.sent, [packet(100, 7)]);
});

test('holds packets to the guest and releases them in order, before those that come later', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toGuest);
  for (let index = 0; index < 20; index++) rig.receive.add([{ write: 100 }]);
  tap.hold = true;
  rig.arrive(...numbered(0, 5));
  t.strictSame(received(rig), []);
  t.equal(rig.counted('receiveHeld'), 5);
  tap.release();
  tap.hold = false;
  rig.arrive(...numbered(5, 8));
  t.strictSame(received(rig), numbered(0, 8));
  t.strictSame(tap.mirrored, numbered(0, 8), 'released packets are not shown again');
});

test('holds packets to the wire and releases them in order, before those that come later', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toWire);
  tap.hold = true;
  const send = (packets: Uint8Array[]): void => {
    for (const bytes of packets) rig.transmit.add([{ read: bytes }]);
    rig.driver.kick(1);
  };
  send(numbered(0, 5));
  t.strictSame(rig.port.sent, []);
  t.equal(rig.transmit.collect().length, 5, 'the driver has its buffers back');
  t.equal(rig.counted('sendHeld'), 5);
  tap.release();
  tap.hold = false;
  send(numbered(5, 8));
  t.strictSame(rig.port.sent, numbered(0, 8));
  t.strictSame(tap.mirrored, numbered(0, 8));
});

test('refuses a packet to the guest while there are no buffers, and tells when there are', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toGuest);
  tap.held.push(...numbered(0, 3));
  tap.release();
  t.equal(tap.held.length, 3);
  rig.receive.add([{ write: 100 }]);
  rig.receive.add([{ write: 100 }]);
  rig.driver.kick(0);
  t.strictSame(received(rig), numbered(0, 2));
  t.equal(tap.held.length, 1);
  rig.receive.add([{ write: 100 }]);
  rig.driver.kick(0);
  t.strictSame(received(rig), numbered(2, 3));
  t.equal(tap.rooms, 2);
});

test('refuses a packet to the wire while the port is busy, and tells when it is not', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toWire);
  rig.port.writeResult = -EAGAIN;
  tap.held.push(packet(100, 2));
  tap.release();
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  t.equal(tap.held.length, 1);
  rig.port.writeResult = 0;
  rig.device.portReady();
  t.equal(tap.held.length, 0);
  t.strictSame(
    rig.port.sent.map((bytes) => bytes[50]),
    [packet(100, 1)[50], packet(100, 2)[50]],
  );
});

test('tells a listener of room on the wire only if it was refused, and once', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toWire);
  for (const seed of [1, 2]) {
    rig.transmit.add([{ read: packet(100, seed) }]);
    rig.driver.kick(1);
    rig.device.portReady();
  }
  t.equal(tap.rooms, 0, 'nothing was put in');
  rig.port.writeResult = -EAGAIN;
  t.equal(rig.device.toWire.put(packet(100, 3)), false);
  rig.port.writeResult = 0;
  rig.device.portReady();
  t.equal(tap.rooms, 1, 'although the driver has nothing to send');
  rig.device.portReady();
  rig.transmit.add([{ read: packet(100, 4) }]);
  rig.driver.kick(1);
  t.equal(tap.rooms, 1);
});

test('tells of no room on the wire while a packet of the driver has to go first', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toWire);
  rig.port.writeResult = -EAGAIN;
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  t.equal(rig.device.toWire.put(packet(100, 2)), false);
  rig.device.portReady();
  t.equal(tap.rooms, 0, 'the port is still busy');
  rig.transport.pause();
  rig.port.writeResult = 0;
  rig.device.portReady();
  t.equal(tap.rooms, 0, 'it is in the ring, and the machine is paused');
  rig.transport.resume();
  t.equal(tap.rooms, 1);
  t.strictSame(rig.port.sent, [packet(100, 1)]);
});

test('goes on when a listener that was refused is gone', async (t) => {
  const rig = netRig(t);
  rig.device.toWire.listener = { packet: () => 'pass', room: () => t.fail('it does not listen any more') };
  rig.port.writeResult = -EAGAIN;
  t.equal(rig.device.toWire.put(packet(100, 1)), false);
  rig.device.toWire.listener = undefined;
  rig.port.writeResult = 0;
  rig.device.portReady();
  rig.transmit.add([{ read: packet(100, 2) }]);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [packet(100, 2)]);
});

test('what is put in goes out also before the driver runs the card', async (t) => {
  const rig = netRig(t, { start: false });
  t.equal(rig.device.toWire.put(packet(100, 1)), true);
  t.strictSame(rig.port.sent, [packet(100, 1)]);
});

test('a reset forgets what the listener saw, and what it wanted later', async (t) => {
  for (const how of ['seen', 'later'] as const) {
    const rig = netRig(t);
    const shown: number[] = [];
    let verdict: Verdict = how === 'later' ? 'later' : 'pass';
    rig.device.toWire.listener = {
      packet: ({ length }) => {
        shown.push(length);
        return verdict;
      },
      room: () => {},
    };
    rig.port.writeResult = -EAGAIN;
    rig.transmit.add([{ read: packet(100) }]);
    rig.driver.kick(1);
    rig.transport.pause();
    rig.driver.start();
    rig.transport.resume();
    rig.port.writeResult = 0;
    verdict = 'pass';
    rig.transmit.add([{ read: packet(101) }]);
    rig.driver.kick(1);
    t.strictSame(shown, [100, 101], how);
    t.strictSame(rig.port.sent, [packet(101)], how);
  }
});

test('a packet that the port did not take is shown once, also if the machine is paused meanwhile', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toWire);
  rig.port.writeResult = -EAGAIN;
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  rig.transport.pause();
  rig.port.writeResult = 0;
  t.equal(rig.device.toWire.put(packet(100, 9)), false, 'it would overtake');
  rig.transport.resume();
  rig.transmit.add([{ read: packet(100, 2) }]);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, [packet(100, 1), packet(100, 2)]);
  t.strictSame(tap.mirrored, [packet(100, 1), packet(100, 2)]);
});

test('sends held packets while the machine stands still, but brings it none', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toGuest);
  rig.receive.add([{ write: 100 }]);
  rig.transport.pause();
  t.equal(rig.device.toWire.put(packet(100, 1)), true);
  t.strictSame(rig.port.sent, [packet(100, 1)]);
  tap.held.push(packet(100, 2));
  tap.release();
  t.equal(tap.held.length, 1);
  rig.transport.resume();
  t.strictSame(received(rig), [packet(100, 2)]);
});

test('a packet put in while the listener looks at another is refused, and taken after it', async (t) => {
  const rig = netRig(t);
  for (let index = 0; index < 5; index++) rig.receive.add([{ write: 100 }]);
  const point = rig.device.toGuest;
  const late: boolean[] = [];
  point.listener = {
    packet: () => {
      late.push(point.put(packet(100, 2)));
      return 'pass';
    },
    room: () => late.push(point.put(packet(100, 2))),
  };
  rig.arrive(packet(100, 1));
  t.strictSame(late, [false, true]);
  t.strictSame(received(rig), [packet(100, 1), packet(100, 2)]);
});

test('a packet that waits for buffers is shown when it has them, and those put in wait behind it', async (t) => {
  const rig = netRig(t);
  const tap = new Replicator(rig.device.toGuest);
  rig.receive.add([{ write: 60 }]);
  rig.arrive(packet(100, 1));
  t.strictSame(tap.mirrored, []);
  t.equal(rig.device.toGuest.put(packet(100, 2)), false);
  tap.held.push(packet(100, 2));
  for (let index = 0; index < 4; index++) rig.receive.add([{ write: 50 }]);
  rig.driver.kick(0);
  rig.work();
  t.strictSame(tap.mirrored, [packet(100, 1)]);
  t.equal(
    rig.receive
      .collect()
      .map(({ length }) => length)
      .join(),
    '60,40,50,50',
  );
});

test('a packet to the wire that the listener wants later stays in the queue, with those behind it', async (t) => {
  const rig = netRig(t);
  const shown: number[] = [];
  let verdict: Verdict = 'later';
  const point = rig.device.toWire;
  point.listener = {
    packet: ({ length }) => {
      shown.push(length);
      return verdict;
    },
    room: () => {},
  };
  for (const length of [100, 101, 102]) rig.transmit.add([{ read: packet(length) }]);
  rig.driver.kick(1);
  rig.device.kicked(1);
  rig.device.portReady();
  t.strictSame(shown, [100], 'it is not asked all the time');
  t.equal(rig.device.hasMore, false);
  t.equal(point.put(packet(90)), true, 'what is put in came before');
  rig.transport.pause();
  t.equal(rig.transport.save().positions[1]?.nextAvail, 0, 'nothing is taken');
  rig.transport.resume();
  verdict = 'pass';
  point.again();
  rig.work();
  t.strictSame(shown, [100, 100, 101, 102]);
  t.strictSame(
    rig.port.sent.map(({ length }) => length),
    [90, 100, 101, 102],
  );
});

test('a packet to the guest that the listener wants later waits, over a pause too, with those behind it', async (t) => {
  for (const pauses of [false, true]) {
    const rig = netRig(t);
    for (let index = 0; index < 8; index++) rig.receive.add([{ write: 100 }]);
    const shown: number[] = [];
    let verdict: Verdict = 'later';
    const point = rig.device.toGuest;
    point.listener = {
      packet: (ranges) => {
        const bytes = new Uint8Array(100);
        ranges.copy(bytes);
        shown.push(bytes[50] as number);
        return verdict;
      },
      room: () => {},
    };
    const all = numbered(0, 3);
    rig.arrive(...all);
    rig.driver.kick(0);
    rig.device.portReady();
    t.strictSame(shown, [all[0]?.[50]], 'it is not asked all the time');
    t.strictSame([rig.device.hasMore, rig.port.incoming.length, rig.port.listening], [false, 2, false]);
    t.equal(point.put(packet(100, 9)), false, 'what is put in comes behind it');
    if (pauses) {
      rig.transport.pause();
      const { positions, device } = rig.transport.save();
      t.equal(positions[0]?.nextAvail, 0);
      t.equal((device as NetState).waiting.length, 100);
      rig.transport.resume();
    }
    verdict = 'pass';
    point.again();
    rig.work();
    t.strictSame(received(rig), all);
    t.equal(rig.port.listening, true);
  }
});

test('a packet that was wanted later goes on when nobody listens any more', async (t) => {
  const rig = netRig(t);
  rig.receive.add([{ write: 100 }]);
  const never = { packet: () => 'later' as const, room: () => {} };
  rig.device.toGuest.listener = never;
  rig.device.toWire.listener = never;
  rig.transmit.add([{ read: packet(100, 1) }]);
  rig.driver.kick(1);
  rig.arrive(packet(100, 2));
  t.strictSame([rig.port.sent.length, received(rig).length], [0, 0]);
  rig.device.toGuest.listener = undefined;
  rig.device.toWire.listener = undefined;
  rig.work();
  t.strictSame(rig.port.sent, [packet(100, 1)]);
  t.strictSame(received(rig), [packet(100, 2)]);
});

test('refuses what is no packet loudly: that is our own mistake', async (t) => {
  const rig = netRig(t);
  for (const length of [0, 25, 65_563]) {
    t.throws(() => rig.device.toGuest.put(new Uint8Array(length)), RangeError);
    t.throws(() => rig.device.toWire.put(new Uint8Array(length)), RangeError);
  }
});

test('drops what is put in while the link is down', async (t) => {
  const rig = netRig(t);
  rig.receive.add([{ write: 100 }]);
  rig.device.setLink(false);
  t.equal(rig.device.toGuest.put(packet(100)), true);
  t.equal(rig.device.toWire.put(packet(100)), true);
  t.strictSame(rig.troubles(), { receiveLinkDown: 1, sendLinkDown: 1 });
});

test('a packet that was wanted later has its turn, however often its listener says that it has room', async (t) => {
  const rig = netRig(t);
  let verdict: Verdict = 'later';
  const listener = { packet: (): Verdict => verdict, room: () => {} };
  rig.device.toWire.listener = listener;
  rig.device.toGuest.listener = listener;
  rig.receive.add([{ write: 600 }]);
  rig.transmit.add([{ read: packet(100) }]);
  rig.driver.kick(1);
  rig.arrive(packet(100));
  verdict = 'pass';
  for (const point of [rig.device.toWire, rig.device.toGuest]) {
    t.equal(rig.device.hasMore, false);
    point.again();
    point.again();
    t.equal(rig.device.hasMore, true);
    rig.work();
  }
  t.equal(rig.port.sent.length, 1);
  t.equal(rig.receive.collect().length, 1);
});
