import { type Test, test } from 'tap';
import type { SecondaryEvent } from '../../../../src/colo/core/events.ts';
import { OwnPackets } from '../../../../src/colo/gate/own-packets.ts';
import { PacketView } from '../../../../src/colo/packet/packet-view.ts';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import type { Message, SecondaryOutput } from '../../../../src/colo/protocol/messages.ts';
import { epoch as e } from '../../../../src/colo/protocol/numbers.ts';
import { RecordConsumer, RecordProducer } from '../../../../src/host/record-ring.ts';
import { cardOfKind, kindOfCard, newSharedReplica } from '../../../../src/vmm/platform/packet-rings.ts';
import { tcpPacket } from '../../../support/packets.ts';
import { fakeTap, packet, seedOf } from './fake-taps.ts';

/** What S's guest says and gets, between an io thread, which the test is, two TAPs and P. */
function ownRig(t: Test) {
  const taps = [fakeTap(t), fakeTap(t)] as const;
  const shared = newSharedReplica(2, taps[0].fd);
  const sent: SecondaryOutput[] = [];
  const events: SecondaryEvent[] = [];
  const state = { now: 1000, room: true, ioWakes: 0 };
  const own = new OwnPackets({
    shared,
    taps: taps.map(({ fd }) => fd),
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
  });
  t.teardown(() => own.close());
  const outbox = new RecordProducer(shared.outbox, () => {});
  const feeds = shared.feeds.map((feed) => new RecordConsumer(feed, () => {}));
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
  return { own, taps, sent, events, state, says, fed, took };
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
  t.strictSame(events, [{ kind: 'own-output-half' }]);
  t.ok(own.facts.bytes <= 16 * 1024 * 1024);
  t.ok(own.lost > 0);
  own.forget(count - 2);
  t.equal(await own.speak(), 2, 'what P confirms is counted with what was lost');
  t.strictSame(taps[0].written(), [count - 2, count - 1]);
});

test("what enters P's guest enters S's, by its card; what finds no room is lost, as in a network", async (t) => {
  const { own, fed, state } = ownRig(t);
  own.begin(e(7));
  own.letIn(1, packet(1));
  own.letIn(0, packet(2));
  t.strictSame([seedOf(fed(0) as Uint8Array), seedOf(fed(1) as Uint8Array)], [2, 1]);
  own.letIn(7, packet(3));
  t.equal(own.lost, 1, 'there is no such card');
  state.ioWakes = 0;
  for (let count = 0; own.lost === 1; count++) own.letIn(0, packet(count));
  t.ok(fed(0));
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

test('a TAP that is full holds a takeover up for a moment only', async (t) => {
  const { own, taps, says } = ownRig(t);
  own.begin(e(7));
  says(7, packet(1));
  taps[0].fill();
  t.equal(await own.speak(), 0);
});
