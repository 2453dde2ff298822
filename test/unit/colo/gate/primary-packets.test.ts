import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';
import { type Test, test } from 'tap';
import type { PrimaryEvent } from '../../../../src/colo/core/events.ts';
import { specification } from '../../../../src/colo/core/rules.ts';
import { PrimaryPackets } from '../../../../src/colo/gate/primary-packets.ts';
import type { Message, Packet } from '../../../../src/colo/protocol/messages.ts';
import { epoch as e } from '../../../../src/colo/protocol/numbers.ts';
import { RecordProducer, recordRingStorage } from '../../../../src/host/threads/record-ring.ts';
import { kindOfCard, PacketControl, packetMode } from '../../../../src/vmm/platform/packet-rings.ts';
import { fakeTap, packet, seedOf } from './fake-taps.ts';

const never = Number.POSITIVE_INFINITY;
const past = Number.NEGATIVE_INFINITY;

/** Packets of two cards between an io thread, which the test is, two TAPs and a standby. */
function packetsRig(t: Test, ringBytes = 64 * 1024) {
  const taps = [fakeTap(t), fakeTap(t)] as const;
  const control = new PacketControl();
  const shared = {
    control: control.storage,
    outbox: recordRingStorage(ringBytes),
    mirror: recordRingStorage(ringBytes),
  };
  const sent: string[] = [];
  const events: PrimaryEvent[] = [];
  const state = { now: 1000, room: true, ioWakes: 0, bells: 0 };
  /** Read at each look at the clock, in place of `now`. */
  const clock: number[] = [];
  const send = (message: Message): boolean => {
    if (message.kind === 'packets-end') sent.push(`end ${message.epoch}: ${message.items}`);
    else {
      const { kind, epoch, card, data } = message as Packet;
      sent.push(`${kind} ${seedOf(data)} of ${epoch} on ${card}`);
    }
    return state.room;
  };
  const packets = new PrimaryPackets({
    shared,
    taps: taps.map(({ fd }) => fd),
    rules: specification,
    flush: () => {},
    send,
    post: (event) => events.push(event),
    now: () => clock.shift() ?? state.now,
    wakeIo: () => {
      state.ioWakes++;
    },
  });
  t.teardown(() => packets.close());
  const bell = (): void => {
    state.bells++;
  };
  const outbox = new RecordProducer(shared.outbox, bell);
  const mirror = new RecordProducer(shared.mirror, bell);
  const put = (ring: RecordProducer, epoch: number, seed: number, card = 0): boolean => {
    const bytes = packet(seed);
    const at = ring.reserve(bytes.length);
    if (at < 0) {
      ring.waitForRoom();
      return false;
    }
    ring.bytes.set(bytes, at);
    ring.commit(kindOfCard(card), epoch);
    return true;
  };
  return {
    packets,
    taps,
    control,
    sent,
    events,
    state,
    clock,
    outbox,
    guestSends: (epoch: number, seed: number, card?: number) => put(outbox, epoch, seed, card),
    guestGets: (epoch: number, seed: number, card?: number) => put(mirror, epoch, seed, card),
    /** Kinds of what was posted since. */
    posted: () => events.splice(0).map((event) => (event.kind === 'output-left' ? `left ${event.epoch}` : event.kind)),
    take: () => sent.splice(0),
  };
}

test('output of an open gate leaves as it comes, by the card it came from, and goes to S as well', async (t) => {
  const { packets, taps, guestSends, guestGets, take, posted } = packetsRig(t);
  guestSends(0, 1);
  guestSends(0, 2, 1);
  guestGets(0, 3, 1);
  packets.work();
  t.strictSame([taps[0].written(), taps[1].written()], [[1], [2]]);
  t.strictSame(take(), ['input 3 of 0 on 1', 'output 1 of 0 on 0', 'output 2 of 0 on 1']);
  t.strictSame(posted(), []);
});

test('packets come only from when something is to be held, or nothing may leave', async (t) => {
  for (const close of ['hold', 'shut'] as const) {
    const { packets, control } = packetsRig(t);
    t.equal(control.mode, packetMode.direct);
    packets[close]();
    t.equal(control.mode, packetMode.mirrored, close);
  }
});

test('held output leaves when its epoch is permitted, in order, and only that', async (t) => {
  const { packets, taps, guestSends, posted, state } = packetsRig(t);
  packets.hold();
  for (const seed of [1, 2]) guestSends(0, seed);
  packets.work();
  state.now += 70;
  t.strictSame(taps[0].written(), []);
  t.strictSame(posted(), ['output-waits']);
  t.strictSame(packets.facts, { packets: 2, bytes: 128, oldestMs: 70, lost: 0 });
  packets.epochCaptured(e(0));
  guestSends(1, 3);
  packets.work();
  packets.permit(e(0), never);
  t.strictSame(taps[0].written(), [1, 2]);
  t.strictSame(posted(), ['output-waits', 'left 0'], 'each epoch tells once');
  t.equal(packets.facts.packets, 1);
  packets.permit(e(0), never);
  t.strictSame(posted(), []);
});

test('consent that runs out between two writes lets the second one wait', async (t) => {
  const { packets, taps, guestSends, clock, posted } = packetsRig(t);
  packets.hold();
  for (const seed of [1, 2, 3]) guestSends(0, seed);
  packets.work();
  posted();
  clock.push(1999, 2000);
  packets.permit(e(0), 2000);
  t.strictSame(taps[0].written(), [1]);
  t.strictSame(posted(), [], 'the epoch has not left');
  packets.permit(e(0), 3000);
  t.strictSame(taps[0].written(), [2, 3]);
  t.strictSame(posted(), ['left 0']);
  packets.permit(e(5), past);
  guestSends(0, 4);
  packets.work();
  t.strictSame(taps[0].written(), [], 'consent was withdrawn');
});

test('what is of the next epoch stays in the rings until this one has ended on its stream', async (t) => {
  const { packets, guestSends, guestGets, take, posted } = packetsRig(t);
  packets.hold();
  guestSends(0, 1);
  guestGets(1, 2);
  guestSends(1, 3);
  packets.work();
  t.strictSame(take(), ['output 1 of 0 on 0']);
  guestGets(1, 4);
  packets.work();
  t.strictSame(take(), []);
  t.strictSame(posted(), ['output-waits']);
  packets.epochCaptured(e(0));
  t.strictSame(take(), ['end 0: 1']);
  t.strictSame(posted(), [], 'whoever tells of the capture is through with it first');
  await turn();
  t.strictSame(take(), ['input 2 of 1 on 0', 'input 4 of 1 on 0', 'output 3 of 1 on 0']);
  t.strictSame(posted(), ['output-waits']);
  packets.epochCaptured(e(1));
  t.strictSame(take(), ['end 1: 3']);
});

test('an epoch without packets ends as well', async (t) => {
  const { packets, take } = packetsRig(t);
  packets.epochCaptured(e(0));
  packets.epochCaptured(e(1));
  await turn();
  t.strictSame(take(), ['end 0: 0', 'end 1: 0']);
});

test('a slow way to S: an epoch ends when all of it was sent, and what cannot be sent stays in its ring', async (t) => {
  const { packets, guestSends, guestGets, take, state, outbox } = packetsRig(t, 1024);
  packets.hold();
  state.room = false;
  for (const seed of [1, 2, 3]) guestSends(0, seed);
  guestGets(0, 4);
  packets.work();
  packets.epochCaptured(e(0));
  t.strictSame(take(), ['input 4 of 0 on 0']);
  await turn();
  t.strictSame(take(), [], 'nobody goes on by himself');
  while (guestSends(1, 9));
  t.ok(outbox.reserve(64) < 0, 'the guest waits');
  packets.drained();
  t.strictSame(take(), ['output 1 of 0 on 0']);
  state.room = true;
  packets.drained();
  t.strictSame(take(), ['output 2 of 0 on 0', 'output 3 of 0 on 0', 'end 0: 4']);
});

test('a ring that is full of held output has room again when some of it leaves, and io is woken', async (t) => {
  const { packets, taps, guestSends, state } = packetsRig(t, 1024);
  packets.hold();
  let count = 0;
  while (guestSends(0, count)) count++;
  packets.work();
  t.ok(count > 5);
  t.notOk(guestSends(0, 99));
  state.ioWakes = 0;
  packets.permit(e(0), never);
  t.strictSame(
    taps[0].written(),
    Array.from({ length: count }, (_, seed) => seed),
  );
  t.equal(state.ioWakes, 1);
  t.ok(guestSends(0, 99));
});

test('a TAP that is full is tried again, by what the gate says then', async (t) => {
  const { packets, taps, guestSends, state, posted } = packetsRig(t);
  packets.hold();
  for (const seed of [1, 2]) guestSends(0, seed);
  packets.work();
  posted();
  taps[0].fill();
  packets.permit(e(0), 2000);
  t.strictSame(posted(), []);
  t.equal(packets.facts.packets, 2, 'nothing is lost');
  state.now = 2000;
  taps[0].drain();
  await wait(20);
  t.strictSame(taps[0].written(), [], 'consent is over by now');
  packets.permit(e(0), 3000);
  t.strictSame(taps[0].written(), [1, 2]);
  t.strictSame(posted(), ['left 0']);
  taps[0].fill();
  guestSends(0, 3);
  packets.work();
  taps[0].drain();
  await wait(20);
  t.strictSame(taps[0].written(), [3], 'without being asked');
});

test('a TAP that is gone loses packets, which are counted, and holds nothing up', async (t) => {
  const { packets, taps, guestSends, posted } = packetsRig(t);
  packets.hold();
  guestSends(0, 1);
  guestSends(0, 2, 1);
  packets.work();
  posted();
  taps[0].remove();
  packets.permit(e(0), never);
  t.strictSame(taps[1].written(), [2]);
  t.strictSame(posted(), ['left 0']);
  t.equal(packets.facts.lost, 1);
});

test('detached, all goes out before the guest speaks for itself, and nothing is sent to S', async (t) => {
  const { packets, taps, guestSends, control, take, posted, state } = packetsRig(t);
  packets.hold();
  for (const seed of [1, 2]) guestSends(4, seed);
  packets.work();
  guestSends(5, 3);
  take();
  posted();
  packets.open();
  state.ioWakes = 0;
  await packets.detach();
  t.equal(control.mode, packetMode.draining);
  t.ok(state.ioWakes > 0);
  t.strictSame(taps[0].written(), [1, 2, 3]);
  t.strictSame(take(), []);
  t.strictSame(posted(), []);
});

test('detaching takes as long as there is something to write', async (t) => {
  const { packets, taps, guestSends } = packetsRig(t);
  taps[0].fill();
  guestSends(0, 1);
  let detached = false;
  const done = packets.detach().then(() => {
    detached = true;
  });
  await turn();
  t.notOk(detached);
  taps[0].drain();
  await done;
  t.strictSame(taps[0].written(), [1]);
});

test('a gate that was shut never lets the guest speak for itself, and bounds what it keeps', async (t) => {
  const { packets, taps, guestSends, control, take } = packetsRig(t, 1024);
  packets.hold();
  for (const seed of [1, 2]) guestSends(0, seed);
  packets.work();
  packets.shut();
  t.equal(packets.facts.packets, 0);
  await packets.detach();
  t.equal(control.mode, packetMode.mirrored);
  take();
  let count = 0;
  while (guestSends(0, 9)) count++;
  packets.work();
  await turn();
  t.ok(count > 2 && count < 20, 'what comes waits in its queue');
  packets.permit(e(9), never);
  t.strictSame(taps[0].written(), []);
  t.strictSame(take(), []);
});

test('what enters a guest whose gate was shut goes to S still, and whoever waits for that hears when all of it has', async (t) => {
  const { packets, taps, guestSends, guestGets, take, state } = packetsRig(t, 256 * 1024);
  packets.hold();
  guestGets(0, 1);
  guestSends(0, 2);
  packets.shut();
  packets.work();
  t.strictSame(take(), ['input 1 of 0 on 0'], "what it says is nobody's");
  state.room = false;
  for (const seed of [3, 4]) guestGets(0, seed);
  let isRead = false;
  const read = packets.mirrored().then(() => {
    isRead = true;
  });
  await turn();
  t.strictSame(take(), ['input 3 of 0 on 0']);
  t.notOk(isRead, 'there is no room for the rest');
  state.room = true;
  packets.drained();
  await read;
  t.strictSame(take(), ['input 4 of 0 on 0']);
  t.strictSame(taps[0].written(), []);
  for (let seed = 0; seed < 600; seed++) guestGets(0, seed);
  await packets.mirrored();
  t.equal(take().length, 600, 'more than a turn takes');
});

test('nobody waits for what cannot be sent any more', async (t) => {
  const { packets, guestGets, take } = packetsRig(t);
  packets.hold();
  packets.shut();
  packets.epochCaptured(e(0));
  guestGets(1, 1);
  await packets.mirrored();
  t.strictSame(take(), [], 'the epoch before it does not end on the stream');
  const other = packetsRig(t);
  other.packets.hold();
  other.packets.shut();
  other.state.room = false;
  for (const seed of [1, 2]) other.guestGets(0, seed);
  const read = other.packets.mirrored();
  other.packets.close();
  await read;
  await other.packets.mirrored();
});

test('what is held is not let go by detaching alone', async (t) => {
  const { packets, taps, guestSends, control } = packetsRig(t);
  packets.hold();
  guestSends(0, 1);
  packets.work();
  await packets.detach();
  t.equal(control.mode, packetMode.mirrored);
  t.strictSame(taps[0].written(), []);
});

test('a flood is dealt with in turns', async (t) => {
  const { packets, taps, guestSends, take, posted } = packetsRig(t, 256 * 1024);
  packets.hold();
  let count = 0;
  while (count < 700) guestSends(0, count++);
  packets.work();
  t.ok(take().length < 700);
  for (let turns = 0; packets.facts.packets < 700 && turns < 10; turns++) await turn();
  t.equal(packets.facts.packets, 700);
  posted();
  packets.permit(e(0), never);
  const first = taps[0].written();
  t.ok(first.length < 700);
  for (let turns = 0; packets.facts.packets > 0 && turns < 10; turns++) await turn();
  t.strictSame(
    [...first, ...taps[0].written()],
    Array.from({ length: 700 }, (_, seed) => seed),
  );
  t.strictSame(posted(), ['left 0']);
});

test("P's guest gets nothing of an epoch that is compared before S's guest runs in it", async (t) => {
  const { packets, control, state } = packetsRig(t);
  packets.hold();
  packets.stopping(e(0), 'comparing');
  t.strictSame([control.letsIn(0), control.letsIn(1), control.letsIn(2)], [true, false, true]);
  const { ioWakes } = state;
  packets.secondaryRuns(e(0));
  t.ok(control.letsIn(1));
  t.ok(state.ioWakes > ioWakes, 'what waited is looked at');
  packets.stopping(e(1), 'buffered');
  t.ok(control.letsIn(2), "in buffered mode S's guest does not run");
  packets.stopping(e(2), 'comparing');
  packets.secondaryRuns(e(1));
  t.notOk(control.letsIn(3), 'the next stop may be ordered before the last one is over at S');
  packets.open();
  t.ok(control.letsIn(3), 'a survivor waits for nobody');
});
