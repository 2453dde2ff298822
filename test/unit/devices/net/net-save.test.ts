import { test } from 'tap';
import { netFeature } from '../../../../src/devices/net/net-shape.ts';
import type { NetState } from '../../../../src/devices/net/net-state.ts';
import type { TransportState } from '../../../../src/devices/virtio/transport-state.ts';
import { EAGAIN } from '../../../../src/host/errno.ts';
import { goOnElsewhere, savedState } from '../../../support/go-on-elsewhere.ts';
import { netRig, packet } from './net-rig.ts';

function ownOf(state: TransportState): NetState {
  return state.device as NetState;
}

/** A command to the card; true if it was carried out. */
function command(rig: ReturnType<typeof netRig>, ...bytes: number[]): boolean {
  rig.control.add([{ read: Uint8Array.from(bytes) }, { write: 1 }]);
  rig.driver.kick(2);
  return rig.control.collectOne().bytes[0] === 0;
}

test('saves a packet that waits for buffers, and brings it in as another card', async (t) => {
  const rig = netRig(t);
  rig.receive.add([{ write: 700 }]);
  rig.arrive(packet(1500, 3));
  t.strictSame(rig.receive.collect(), [], 'it waits');

  const next = netRig(t);
  const state = goOnElsewhere(rig, next);
  t.equal(ownOf(state).waiting.length, 1500);
  t.strictSame(savedState(next), state);
  next.transport.resume();
  next.receive.add([{ write: 900 }]);
  next.driver.kick(0);
  next.work();
  const answers = next.receive.collect();
  const whole = Buffer.concat(answers.map(({ bytes }) => bytes));
  t.equal(answers.length, 2);
  t.strictSame(whole.subarray(12), Buffer.from(packet(1500, 3).subarray(12)));
  t.equal(whole.readUInt16LE(10), 2, 'in two buffers');
  t.equal(ownOf(savedState(next)).waiting.length, 0);
});

test('goes back to a packet that waited, and forgets one that came since', async (t) => {
  const rig = netRig(t);
  const empty = savedState(rig);
  rig.transport.resume();
  rig.receive.add([{ write: 100 }]);
  rig.arrive(packet(600, 5));
  const full = savedState(rig);
  t.equal(ownOf(full).waiting.length, 600);
  rig.transport.prepareLoad(empty)();
  t.strictSame(savedState(rig), empty);
  rig.transport.prepareLoad(full)();
  t.strictSame(savedState(rig), full);
});

test('sends a packet that the port did not take once, as another card, which asks its own listener', async (t) => {
  const rig = netRig(t);
  const seen: number[] = [];
  const listener = {
    packet: ({ length }: { length: number }) => {
      seen.push(length);
      return 'pass' as const;
    },
    room: () => {},
  };
  rig.device.toWire.listener = listener;
  rig.port.writeResult = -EAGAIN;
  for (const length of [100, 101]) rig.transmit.add([{ read: packet(length) }]);
  rig.driver.kick(1);
  t.strictSame(rig.port.sent, []);

  const next = netRig(t);
  const own: number[] = [];
  next.device.toWire.listener = {
    ...listener,
    packet: ({ length }) => {
      own.push(length);
      return 'pass';
    },
  };
  const state = goOnElsewhere(rig, next);
  t.equal(ownOf(state).nextIsSeen, false, 'that is between this card and its listener');
  t.strictSame(savedState(next), state);
  next.transport.resume();
  t.strictSame(
    next.port.sent.map(({ length }) => length),
    [100, 101],
  );
  t.strictSame(next.transmit.collect().length, 2);
  t.strictSame(seen, [100]);
  t.strictSame(own, [100, 101]);
});

test('asks its listener also where an earlier version says that another one has seen the packet', async (t) => {
  const rig = netRig(t);
  rig.transmit.add([{ read: packet(100) }]);
  const state = savedState(rig);
  const own: number[] = [];
  rig.device.toWire.listener = {
    packet: ({ length }) => {
      own.push(length);
      return 'pass';
    },
    room: () => {},
  };
  rig.transport.prepareLoad({ ...state, device: { ...ownOf(state), nextIsSeen: true } as NetState })();
  rig.transport.resume();
  t.strictSame(own, [100]);
});

test('tells its port only what has changed of what its driver takes', async (t) => {
  const rig = netRig(t);
  const state = savedState(rig);
  const { length } = rig.port.offloads;
  for (let round = 0; round < 5; round++) rig.transport.prepareLoad(state)();
  t.equal(rig.port.offloads.length, length);
  rig.port.offloadResult = -22;
  rig.transport.resume();
  rig.driver.reset();
  rig.port.offloadResult = 0;
  rig.driver.start();
  t.ok(rig.port.offloads.length >= length + 2, 'what it did not take is told again');
});

test('tells another port what its driver takes', async (t) => {
  const rig = netRig(t);
  t.ok(command(rig, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0), 'checksums alone');
  const next = netRig(t, { start: false });
  const state = goOnElsewhere(rig, next);
  t.equal(ownOf(state).guestOffloads, netFeature.guestChecksum);
  t.equal(next.port.offloads.at(-1), 1);
});

test('keeps address, link and announcement', async (t) => {
  const rig = netRig(t);
  t.ok(command(rig, 1, 1, 2, 9, 9, 9, 9, 9), 'it takes another address');
  t.ok(rig.device.announce());
  rig.device.setLink(false);
  const next = netRig(t);
  goOnElsewhere(rig, next);
  next.transport.resume();
  t.equal(next.driver.readConfig(5, 1), 9);
  t.equal(next.driver.readConfig(6, 2), 2, 'announce, and no link');
  next.receive.add([{ write: 1500 }]);
  next.arrive(packet(100));
  next.transmit.add([{ read: packet(100) }]);
  next.driver.kick(1);
  t.strictSame(next.troubles(), { receiveLinkDown: 1, sendLinkDown: 1 }, 'the cable is out there as well');
  next.device.setLink(true);
  next.arrive(packet(101));
  t.equal(next.receive.collectOne().length, 101);
  t.ok(command(next, 3, 0), 'the driver has announced');
  t.equal(next.driver.readConfig(6, 2), 1);
});

test('brings in what came to the port before it went on', async (t) => {
  const rig = netRig(t);
  rig.receive.add([{ write: 1500 }]);
  const next = netRig(t);
  goOnElsewhere(rig, next);
  next.arrive(packet(77));
  t.strictSame(next.receive.collect(), [], 'not while it is paused');
  next.transport.resume();
  t.equal(next.receive.collectOne().length, 77);
});

for (const [what, change, message] of [
  ['offloads that were not agreed on', { guestOffloads: 1n << 40n }, /guestOffloads cannot be 0x10000000000 /],
  ['offloads that lack one they need', { guestOffloads: netFeature.guestTso4 }, /guestOffloads cannot be 0x80 /],
  ['a waiting packet that is too short', { waiting: new Uint8Array(20) }, /waiting cannot be a packet of 20 bytes/],
] as const) {
  test(`refuses a state with ${what}`, async (t) => {
    const rig = netRig(t);
    const state = savedState(rig);
    const broken = { ...state, device: { ...state.device, ...change } };
    t.throws(() => rig.transport.prepareLoad(broken), { code: 'VM_STATE', message });
    t.strictSame(savedState(rig), state);
  });
}

test('refuses a state whose link is neither up, nor down, nor to be announced', async (t) => {
  const rig = netRig(t);
  const state = savedState(rig);
  const config = new Uint8Array(state.registers.config);
  config[6] = 4;
  t.throws(() => rig.transport.prepareLoad({ ...state, registers: { ...state.registers, config } }), {
    code: 'VM_STATE',
    message: /^registers\.config\.status cannot be 4/,
  });
});

test('refuses a state in which a packet waits, or was seen, with no driver', async (t) => {
  const rig = netRig(t, { start: false });
  const state = savedState(rig);
  for (const change of [{ waiting: packet(100) }, { nextIsSeen: true }]) {
    const broken = { ...state, device: { ...state.device, ...change } };
    t.throws(() => rig.transport.prepareLoad(broken), {
      code: 'VM_STATE',
      message: /^device\.(waiting|nextIsSeen) cannot/,
    });
  }
});

test('is not loaded with the state of a card with another MTU, and says which one to give', async (t) => {
  const state = savedState(netRig(t, { mtu: 1400 }));
  const rig = netRig(t, { mtu: 1500 });
  rig.transport.pause();
  t.throws(() => rig.transport.prepareLoad(state), {
    code: 'VM_STATE',
    message: 'mtu=1500 cannot be: the guest was told of an MTU of 1400: give mtu=1400, or start the guest anew',
  });
});

test('refuses a state in which requests are taken and not given back, for there never are any', async (t) => {
  const rig = netRig(t);
  const state = savedState(rig);
  for (const position of [
    { nextAvail: 1, nextUsed: 0, signalled: 0 },
    { nextAvail: 1, nextUsed: 1, signalled: 0 },
  ]) {
    const positions = [position, ...state.positions.slice(1)];
    t.throws(() => rig.transport.prepareLoad({ ...state, positions }), {
      code: 'VM_STATE',
      message: /^positions\[0\] cannot be avail 1, used [01], signalled 0 where/,
    });
  }
});

test('takes nothing from a listener once it is back at a time before its driver started', async (t) => {
  const rig = netRig(t, { start: false });
  const state = savedState(rig);
  rig.transport.resume();
  rig.driver.start();
  rig.receive.add([{ write: 1500 }]);
  rig.transport.pause();
  rig.transport.prepareLoad(state)();
  rig.transport.resume();
  t.equal(rig.device.toGuest.put(packet(100)), false);
  t.equal(rig.receive.usedIndex, 0);
});

test('keeps the shorter queue of a card of an earlier version, also for the next driver', async (t) => {
  const rig = netRig(t, { start: false });
  const { registers, ...state } = savedState(rig);
  const [receive, ...others] = registers.queues;
  const earlier = { ...state, registers: { ...registers, queues: [{ ...receive, maxSize: 256 } as never, ...others] } };
  rig.transport.prepareLoad(earlier)();
  t.strictSame(savedState(rig), earlier);
  rig.transport.resume();
  rig.driver.reset();
  rig.driver.start();
  t.equal(rig.receive.size, 256);
  rig.receive.add([{ write: 2000 }]);
  rig.arrive(packet(100));
  t.equal(rig.receive.collectOne().length, 100);
});

test('is not loaded where its driver was told otherwise about offloads or MTU, and says so by the key', async (t) => {
  for (const [then, now, message] of [
    [
      { offload: true },
      { offload: false },
      /^offload was on when the guest started, and is off here, .*: leave it on,/,
    ],
    [
      { offload: false },
      { offload: true },
      /^offload was off when the guest started, and is on here, .*: leave it off,/,
    ],
    [{}, { mtu: 1400 }, /^mtu was not given when the guest started, and is given here, .*: leave it not given,/],
  ] as const) {
    const rig = netRig(t, now);
    rig.transport.pause();
    t.throws(() => rig.transport.prepareLoad(savedState(netRig(t, then))), { code: 'VM_STATE', message });
  }
});
