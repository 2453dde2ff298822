import { type Test, test } from 'tap';
import type { SecondaryEvent } from '../../../../src/colo/core/events.ts';
import { OwnPackets } from '../../../../src/colo/gate/own-packets.ts';
import { PacketView } from '../../../../src/colo/packet/packet-view.ts';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import type { Message, SecondaryOutput } from '../../../../src/colo/protocol/messages.ts';
import { epoch as e } from '../../../../src/colo/protocol/numbers.ts';
import { RecordConsumer, RecordProducer } from '../../../../src/host/threads/record-ring.ts';
import { cardOfKind, kindOfCard, newSharedReplica } from '../../../../src/vmm/platform/packet-rings.ts';
import { ReplicaNeeds } from '../../../../src/vmm/platform/shared-protection.ts';
import { tcpPacket } from '../../../support/packets.ts';
import { fakeTap, packet, seedOf } from './fake-taps.ts';

/** What S's guest says and gets, between an io thread, which the test is, two TAPs and P. */
function ownRig(t: Test) {
  const taps = [fakeTap(t), fakeTap(t)] as const;
  const shared = newSharedReplica(2, taps[0].fd);
  const sent: SecondaryOutput[] = [];
  const events: SecondaryEvent[] = [];
  const state = { now: 1000, room: true, ioWakes: 0, lostInputs: 0, rings: 0 };
  const own = new OwnPackets({
    shared,
    taps: taps.map(({ fd }) => fd),
    flush: () => {},
    send: (message: Message) => {
      sent.push({ ...(message as SecondaryOutput) });
      return state.room;
    },
    post: (event) => events.push(event),
    now: () => state.now,
    wakeIo: () => {
      state.ioWakes++;
    },
    seed: 1,
    lostInput: () => {
      state.lostInputs++;
    },
  });
  t.teardown(() => own.close());
  const outbox = new RecordProducer(shared.outbox, () => {});
  const feeds = shared.feeds.map((feed) => new RecordConsumer(feed, () => state.rings++));
  const says = (epoch: number, bytes: Uint8Array, card = 0): boolean => {
    const at = outbox.reserve(bytes.length);
    if (at < 0) return false;
    outbox.bytes.set(bytes, at);
    outbox.commit(kindOfCard(card), epoch);
    return true;
  };
  /** What the io thread finds in a card's feed. */
  const fed = (card: number): Uint8Array | undefined => {
    const feed = feeds[card];
    if (feed === undefined || !feed.next()) return undefined;
    if (cardOfKind(feed.kind) !== card) throw new Error('a packet of another card');
    const bytes = Uint8Array.from(feed.bytes.subarray(feed.offset, feed.offset + feed.length));
    feed.giveBack();
    return bytes;
  };
  const took = (): string[] => sent.splice(0).map(({ epoch, card, data }) => `${seedOf(data)} of ${epoch} on ${card}`);
  /** How often the io thread has rung for room in a feed since this was last asked. */
  const rings = (): number => {
    const { rings: count } = state;
    state.rings = 0;
    return count;
  };
  const needs = new ReplicaNeeds(shared.needs);
  return { own, taps, sent, events, state, says, fed, took, rings, needs };
}

test("what S's guest says goes to P, of the epoch that it runs in, and not to the network", async (t) => {
  const { own, taps, says, took } = ownRig(t);
  says(6, packet(1));
  own.begin(e(7));
  says(7, packet(2));
  says(7, packet(3), 1);
  own.work();
  t.strictSame(took(), ['2 of 7 on 0', '3 of 7 on 1'], 'what was said before was rolled back');
  t.strictSame([taps[0].written(), taps[1].written()], [[], []]);
});

test('at a takeover everything is sent that P has not confirmed, in order, also what nobody had time for', async (t) => {
  const { own, taps, says, state, took } = ownRig(t);
  own.begin(e(7));
  for (const seed of [1, 2, 3]) says(7, packet(seed));
  own.work();
  own.forget(2);
  own.forget(1);
  state.room = false;
  says(7, packet(4));
  own.work();
  says(7, packet(5));
  own.work();
  t.strictSame(took(), ['1 of 7 on 0', '2 of 7 on 0', '3 of 7 on 0', '4 of 7 on 0'], 'there is no room for more');
  t.equal(await own.speak(), 3);
  t.strictSame(taps[0].written(), [3, 4, 5]);
});

test('the next epoch has nothing of this one', async (t) => {
  const { own, taps, says } = ownRig(t);
  own.begin(e(7));
  says(7, packet(1));
  own.work();
  own.begin(e(8));
  says(8, packet(2));
  own.work();
  own.forget(0);
  t.equal(await own.speak(), 1);
  t.strictSame(taps[0].written(), [2]);
});

test('a checkpoint is wanted once when half of the room is taken; beyond it the oldest go', async (t) => {
  const { own, taps, says, events } = ownRig(t);
  own.begin(e(7));
  const count = 90_000;
  for (let seed = 0; seed < count; seed++) {
    if (!says(7, packet(seed))) {
      while (own.facts.bytes > 0 && !says(7, packet(seed))) own.work();
    }
  }
  for (let before = -1; before !== own.lost + own.facts.bytes; ) {
    before = own.lost + own.facts.bytes;
    own.work();
  }
  t.strictSame(events, [{ kind: 'own-room-half', of: 'output' }]);
  t.ok(own.facts.bytes <= 16 * 1024 * 1024);
  t.ok(own.lost > 0);
  own.forget(count - 2);
  t.equal(await own.speak(), 2, 'what P confirms is counted with what was lost');
  t.strictSame(taps[0].written(), [count - 2, count - 1]);
});

test("what enters P's guest enters S's, by its card", async (t) => {
  const { own, fed } = ownRig(t);
  own.begin(e(7));
  own.letIn(1, packet(1));
  own.letIn(0, packet(2));
  t.strictSame([seedOf(fed(0) as Uint8Array), seedOf(fed(1) as Uint8Array)], [2, 1]);
  own.letIn(7, packet(3));
  t.equal(own.lost, 1, 'there is no such card');
});

/** Lets packets in, numbered from 0, until so many bytes wait for the guest. The number of packets. */
function letInUntil(own: OwnPackets, waitingBytes: number): number {
  let count = 0;
  while (own.facts.waitingBytes < waitingBytes && own.lost === 0) own.letIn(0, longPacket(count++));
  return count;
}

/** A packet of some length, so that a few thousand are many bytes. */
function longPacket(seed: number): Uint8Array {
  const bytes = new Uint8Array(1500);
  bytes.set(packet(seed));
  return bytes;
}

test('a guest that takes its packets late gets all of them, in order; another card does not wait for that', async (t) => {
  const { own, fed, rings, events } = ownRig(t);
  own.begin(e(7));
  const count = letInUntil(own, 100_000);
  own.letIn(1, packet(5));
  t.equal(seedOf(fed(1) as Uint8Array), 5);
  t.equal(rings(), 0);
  const got: number[] = [];
  for (;;) {
    const bytes = fed(0);
    if (bytes === undefined) break;
    got.push(seedOf(bytes));
    if (rings() > 0) own.work();
  }
  t.strictSame(
    got,
    Array.from({ length: count }, (_, seed) => seed),
  );
  t.equal(own.facts.waitingBytes, 0);
  t.equal(own.lost, 0);
  t.strictSame(events, []);
});

test('a checkpoint is wanted long before a packet has to go, and that is told; the next epoch waits for nothing', async (t) => {
  const { own, fed, events, state } = ownRig(t);
  own.begin(e(7));
  letInUntil(own, 8 * 1024 * 1024);
  letInUntil(own, 9 * 1024 * 1024);
  t.strictSame(events, [{ kind: 'own-room-half', of: 'input' }]);
  t.equal(state.lostInputs, 0);
  letInUntil(own, Number.POSITIVE_INFINITY);
  own.letIn(0, longPacket(1));
  t.equal(own.lost, 2);
  t.equal(state.lostInputs, 1, 'told once in an epoch');
  own.begin(e(8));
  t.equal(own.facts.waitingBytes, 0);
  while (fed(0) !== undefined);
  own.work();
  t.equal(fed(0), undefined);
  for (let seed = 0; own.facts.waitingBytes < 9 * 1024 * 1024; seed++) own.letIn(0, longPacket(seed));
  t.equal(events.length, 2);
});

test('what waits when the guest is to speak for itself is handed over, once', async (t) => {
  const { own, fed } = ownRig(t);
  own.begin(e(7));
  const count = letInUntil(own, 100_000);
  await own.speak();
  let given = 0;
  while (fed(0) !== undefined) given++;
  own.work();
  t.equal(fed(0), undefined, 'its feed is nobody else’s any more');
  const rest = own.takeWaiting();
  t.strictSame(
    rest.map(({ card, packet: bytes }) => [card, seedOf(bytes)]),
    Array.from({ length: count - given }, (_, index) => [0, given + index]),
  );
  t.strictSame(own.takeWaiting(), []);
});

test('a checkpoint is wanted once when its disks have half of their room, and again in another epoch', async (t) => {
  const { own, needs, events } = ownRig(t);
  needs.diskRoom();
  own.begin(e(7));
  own.work();
  t.strictSame(events, [], 'that was for a guest that was rolled back');
  needs.diskRoom();
  own.work();
  needs.diskRoom();
  own.work();
  t.strictSame(events, [{ kind: 'own-room-half', of: 'disk' }]);
  own.begin(e(8));
  needs.diskRoom();
  own.work();
  t.equal(events.length, 2);
});

test("connections of S's guest have P's numbers on the way to P, and its own on the way in", async (t) => {
  const { own, says, sent, fed } = ownRig(t);
  const guest = { source: [192, 0, 2, 1], destination: [198, 51, 100, 7], sourcePort: 80, destinationPort: 4000 };
  const client = { source: [198, 51, 100, 7], destination: [192, 0, 2, 1], sourcePort: 4000, destinationPort: 80 };
  const { syn, ack } = tcpFlag;
  const [clientsStart, mine, theirs] = [500, 9000, 77_000];
  own.begin(e(7));
  own.letIn(0, tcpPacket({ ...client, sequence: clientsStart, flags: syn }));
  says(7, tcpPacket({ ...guest, sequence: mine, acknowledgement: clientsStart + 1, flags: syn | ack }));
  own.work();
  // P's has left with P's number, which the client acknowledges.
  fed(0);
  own.letIn(0, tcpPacket({ ...client, sequence: clientsStart + 1, acknowledgement: theirs + 1, flags: ack }));
  const entered = fed(0) as Uint8Array;
  const view = new PacketView(12);
  view.read(entered, 0, entered.length);
  t.equal(view.acknowledgement, mine + 1);
  sent.length = 0;
  says(7, tcpPacket({ ...guest, sequence: mine + 1, acknowledgement: clientsStart + 1, flags: ack, payload: 'hello' }));
  own.work();
  const [{ data }] = sent as [SecondaryOutput];
  view.read(data, 0, data.length);
  t.equal(view.sequence, theirs + 1);
  t.equal(own.facts.flows, 1);
  t.equal(own.translation(5).state.flows.length, 1);
  own.begin(e(8));
  t.equal(own.facts.flows, 0, 'a checkpoint has made them equal');
});

test('a checkpoint is wanted, once, when a connection can have no numbers of P before', async (t) => {
  const { own, says, sent, events } = ownRig(t);
  const { syn, ack } = tcpFlag;
  own.begin(e(7));
  const answer = (port: number): void => {
    const packet = tcpPacket({ sourcePort: 80, destinationPort: port, flags: syn | ack });
    while (!says(7, packet)) own.work();
  };
  for (let port = 1; port <= 16_384; port++) answer(port);
  for (let before = -1; before !== sent.length; own.work()) before = sent.length;
  t.equal(own.facts.flows, 16_384);
  t.strictSame(events, []);
  sent.length = 0;
  answer(20_000);
  answer(20_001);
  own.work();
  t.strictSame(sent, [], 'the primary must not find its like');
  t.strictSame(events, [{ kind: 'own-room-half', of: 'connections' }]);
  own.begin(e(8));
  says(8, tcpPacket({ sourcePort: 80, destinationPort: 20_000, flags: syn | ack }));
  own.work();
  t.equal(sent.length, 1, 'the checkpoint has made room');
  t.equal(events.length, 1);
});

test('connections that a survivor translates are translated here as well, with the numbers that it has for them', async (t) => {
  const guest = { source: [192, 0, 2, 1], destination: [198, 51, 100, 7], sourcePort: 80, destinationPort: 4000 };
  const client = { source: [198, 51, 100, 7], destination: [192, 0, 2, 1], sourcePort: 4000, destinationPort: 80 };
  const { syn, ack } = tcpFlag;
  const [clientsStart, mine, theirs] = [500, 9000, 77_000];
  const earlier = ownRig(t);
  earlier.own.begin(e(7));
  earlier.own.letIn(0, tcpPacket({ ...client, sequence: clientsStart, flags: syn }));
  earlier.says(7, tcpPacket({ ...guest, sequence: mine, acknowledgement: clientsStart + 1, flags: syn | ack }));
  earlier.own.work();
  earlier.own.letIn(0, tcpPacket({ ...client, sequence: clientsStart + 1, acknowledgement: theirs + 1, flags: ack }));
  // It has taken over, and its next standby is at a checkpoint of its guest.
  const { own, says, sent, fed } = ownRig(t);
  own.begin(e(1), earlier.own.translation(0).state);
  t.equal(own.facts.flows, 1);
  own.letIn(
    0,
    tcpPacket({ ...client, sequence: clientsStart + 1, acknowledgement: theirs + 1, flags: ack, payload: 'hi' }),
  );
  const view = new PacketView(12);
  const entered = fed(0) as Uint8Array;
  view.read(entered, 0, entered.length);
  t.equal(view.acknowledgement, mine + 1);
  says(1, tcpPacket({ ...guest, sequence: mine + 1, acknowledgement: clientsStart + 3, flags: ack, payload: 'hello' }));
  own.work();
  const [{ data }] = sent as [SecondaryOutput];
  view.read(data, 0, data.length);
  t.equal(view.sequence, theirs + 1);
  t.same(own.translation(0).state.flows.length, 1, 'and so it is when that is lost, too');
});

test('a TAP that is full holds a takeover up for a moment only', async (t) => {
  const { own, taps, says } = ownRig(t);
  own.begin(e(7));
  says(7, packet(1));
  taps[0].fill();
  t.equal(await own.speak(), 0);
});
