import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { type Test, test } from 'tap';
import type { Divergence } from '../../../../src/colo/compare/divergence.ts';
import { policyOfPorts } from '../../../../src/colo/compare/flow-policy.ts';
import { defaultCompareSettings } from '../../../../src/colo/compare/settings.ts';
import type { PrimaryEvent } from '../../../../src/colo/core/events.ts';
import { specification } from '../../../../src/colo/core/rules.ts';
import { PrimaryPackets } from '../../../../src/colo/gate/primary-packets.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import type { Message, OutputConfirmed, Packet } from '../../../../src/colo/protocol/messages.ts';
import { epoch as e } from '../../../../src/colo/protocol/numbers.ts';
import { close, createPipe, tryRead } from '../../../../src/host/libc/descriptors.ts';
import { RecordProducer, recordRingStorage } from '../../../../src/host/threads/record-ring.ts';
import { kindOfCard, newSharedPackets } from '../../../../src/vmm/platform/packet-rings.ts';
import { tcpPacket, udpPacket } from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';

const never = Number.POSITIVE_INFINITY;
const past = Number.NEGATIVE_INFINITY;
/** So little that a few dozen packets fill it. */
const ringBytes = 4096;

/** An answer of one byte, from a port of the guest's. */
function answer(letter: string, port = 53): Uint8Array {
  return udpPacket({ payload: letter, sourcePort: port });
}

/** P's packets in epoch 1, which is compared, with a TAP that tells letters. */
function comparedRig(t: Test, outboxBytes?: number) {
  const [reader, tap] = createPipe();
  t.teardown(() => {
    close(reader);
    close(tap);
  });
  const whole = newSharedPackets();
  const shared = outboxBytes === undefined ? whole : { ...whole, outbox: recordRingStorage(outboxBytes) };
  const sent: Message[] = [];
  const events: PrimaryEvent[] = [];
  const divergences: Divergence[] = [];
  const state = { now: 1000 };
  const packets = new PrimaryPackets({
    shared,
    taps: [tap],
    rules: specification,
    flush: () => {},
    send: (message) => {
      sent.push('data' in message ? { ...message, data: Uint8Array.from(message.data) } : message);
      return true;
    },
    post: (event) => events.push(event),
    now: () => state.now,
    wakeIo: () => {},
    comparing: {
      policyOf: policyOfPorts([
        { port: 123, policy: 'buffer' },
        { port: 514, policy: 'pass' },
      ]),
      seed: 1,
      diverged: (divergence) => divergences.push(divergence),
    },
  });
  t.teardown(() => packets.close());
  const outbox = new RecordProducer(shared.outbox, () => {});
  const letterOf = (bytes: Uint8Array): string => String.fromCharCode(bytes.at(-1) as number);
  const size = answer('x').length;
  packets.hold();
  packets.epochCaptured(e(0), 'comparing');
  sent.length = 0;
  return {
    packets,
    events,
    divergences,
    state,
    says: (letter: string | Uint8Array, epoch = 1, port = 53) => {
      const bytes = typeof letter === 'string' ? answer(letter, port) : letter;
      const at = outbox.reserve(bytes.length);
      const hasRoom = at >= 0;
      if (hasRoom) {
        outbox.bytes.set(bytes, at);
        outbox.commit(kindOfCard(0), epoch);
      } else outbox.waitForRoom();
      packets.work();
      return hasRoom;
    },
    standbySays: (letter: string | Uint8Array, epoch = 1, port = 53) => {
      const data = typeof letter === 'string' ? answer(letter, port) : letter;
      packets.secondary({ kind: 'secondary-output', epoch: e(epoch), card: 0, data });
    },
    left: () => {
      const bytes = new Uint8Array(100 * size);
      const count = Math.max(0, tryRead(reader, bytes));
      return Array.from({ length: count / size }, (_, at) => letterOf(bytes.subarray(at * size, (at + 1) * size))).join(
        '',
      );
    },
    /** Port and letter of each packet that has left. */
    taken: () => {
      const bytes = new Uint8Array(100 * size);
      const count = Math.max(0, tryRead(reader, bytes));
      return Array.from({ length: count / size }, (_, at): [number, string] => {
        const packet = bytes.subarray(at * size, (at + 1) * size);
        const view = new PacketView();
        view.read(packet, 0, size);
        return [view.sourcePort, letterOf(packet)];
      });
    },
    /** Sequence number, payload and flags of the packet of TCP that has left; undefined: none has. */
    segment: () => {
      const bytes = new Uint8Array(2000);
      const view = new PacketView();
      if (view.read(bytes, 0, Math.max(0, tryRead(reader, bytes))) !== packetKind.tcp) return undefined;
      const { payload, payloadBytes, sequence, tcpFlags } = view;
      return [sequence, Buffer.from(bytes.subarray(payload, payload + payloadBytes)).toString(), tcpFlags];
    },
    confirmed: () =>
      sent
        .filter((message): message is OutputConfirmed => message.kind === 'output-confirmed')
        .map(({ items }) => items),
    outputs: () =>
      sent
        .filter((message): message is Packet => message.kind === 'output')
        .map(({ data }) => letterOf(data))
        .join(''),
  };
}

test('what both guests say leaves at once, and S hears that it need not keep it', async (t) => {
  const { packets, says, standbySays, left, confirmed, outputs } = comparedRig(t);
  packets.permit(e(0), never);
  says('a');
  t.equal(left(), '');
  standbySays('a');
  t.equal(left(), 'a');
  standbySays('b');
  says('b');
  t.equal(left(), 'b');
  t.strictSame(confirmed(), []);
  while (confirmed().length === 0) await sleep(5);
  t.strictSame(confirmed(), [2], 'of both together, a little later');
  t.equal(outputs(), '', 'and nothing of it was sent to S');
  t.match(packets.comparison, { released: 2, divergences: 0 });
});

test('nothing leaves without consent, and until then S keeps its own', async (t) => {
  const { packets, says, standbySays, left, confirmed } = comparedRig(t);
  packets.permit(e(0), past);
  says('a');
  standbySays('a');
  t.equal(left(), '');
  await sleep(100);
  t.strictSame(confirmed(), []);
  packets.permit(e(0), never);
  t.equal(left(), 'a');
  while (confirmed().length === 0) await sleep(5);
  t.strictSame(confirmed(), [1]);
});

test('it is known how long the last packets had waited for S', async (t) => {
  const { packets, says, standbySays, state } = comparedRig(t);
  packets.permit(e(0), never);
  t.equal(packets.behind, undefined);
  for (const ms of [5, 30, 7]) {
    says('a');
    state.now += ms;
    standbySays('a');
  }
  t.same(packets.behind, { median: 7, worst: 30 });
  says('b');
  state.now += 500;
  packets.epochCaptured(e(1), 'comparing');
  packets.permit(e(1), never);
  t.equal(packets.behind?.worst, 30, 'a checkpoint let it out');
  standbySays('c', 2);
  says('c', 2);
  t.same(packets.behind, { median: 7, worst: 30 }, 'one for which nobody waited');
  for (let count = 0; count < 256; count++) {
    standbySays('d', 2);
    says('d', 2);
  }
  t.same(packets.behind, { median: 0, worst: 0 }, 'those of long ago are forgotten');
});

test('of many packets S hears at once that it need not keep them', async (t) => {
  const { packets, says, standbySays, left, confirmed } = comparedRig(t);
  packets.permit(e(0), never);
  for (let count = 1; count <= 256; count++) {
    says('a');
    standbySays('a');
    left();
  }
  t.strictSame(confirmed(), [256]);
});

test('the part of a packet that S has said leaves, with consent, and the rest waits in its place', async (t) => {
  const { packets, says, standbySays, segment } = comparedRig(t);
  const { ack, psh } = tcpFlag;
  const data = (sequence: number, payload: string) =>
    tcpPacket({ sequence, acknowledgement: 1, flags: ack | psh, payload });
  packets.permit(e(0), past);
  packets.secondaryRuns(e(0));
  says(data(0, 'one two three'));
  standbySays(data(0, 'one'));
  await sleep(60);
  t.equal(segment(), undefined);
  packets.permit(e(0), never);
  const { bytes } = packets.facts;
  let part = segment();
  for (; part === undefined; part = segment()) await sleep(5);
  t.same(part, [0, 'one', ack]);
  t.match(packets.facts, { packets: 1, bytes: bytes - 3 });
  standbySays(data(3, ' two three'));
  t.same(segment(), [3, ' two three', ack | psh]);
  t.match(packets.facts, { packets: 0, bytes: 0 });
  says(data(13, ' four five'));
  standbySays(data(13, ' four'));
  await turn();
  await turn();
  t.same(segment(), [13, ' four', ack], 'in the next turn');
  packets.epochCaptured(e(1), 'comparing');
  packets.permit(e(1), never);
  t.same(segment(), [18, ' five', ack | psh], 'a checkpoint lets out the rest');
});

test('where the standby is gone, nobody disagrees', async (t) => {
  const { packets, says, standbySays, divergences, events, state } = comparedRig(t);
  packets.permit(e(0), never);
  packets.permit(e(0), Number.NEGATIVE_INFINITY);
  events.length = 0;
  says('a');
  state.now += 60_000;
  await sleep(60);
  t.strictSame([divergences, events], [[], []]);
  standbySays('A');
  t.strictSame(divergences, [], 'nor with what it said last');
});

test('where the guests do not agree a checkpoint is wanted, which lets out what waited; S gets it with that', async (t) => {
  const { packets, says, standbySays, left, outputs, events, divergences, state } = comparedRig(t);
  packets.permit(e(0), never);
  events.length = 0;
  says('a');
  standbySays('A');
  t.strictSame(events, []);
  packets.secondaryRuns(e(0));
  state.now += 3000;
  while (events.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  t.match(events, [{ kind: 'comparison-wants', epoch: e(1), why: 'divergence', waitedMs: 3000 }]);
  t.match(divergences, [{ reason: 'payload' }]);
  packets.epochCaptured(e(1), 'comparing');
  t.equal(outputs(), 'a');
  says('b', 2);
  t.equal(left(), '');
  packets.permit(e(1), never);
  t.equal(left(), 'a');
  standbySays('b', 1);
  t.equal(left(), '', 'what S said in an epoch that is over is no concern');
  standbySays('b', 2);
  t.equal(left(), 'b');
});

test('more than the comparison has room for is not lost: all of it goes to S, and leaves with the checkpoint', async (t) => {
  const { packets, says, left, outputs, divergences } = comparedRig(t);
  packets.permit(e(0), never);
  const bound = defaultCompareSettings.packetsPerFlow;
  const letters = Array.from({ length: bound + 50 }, (_, at) => String.fromCharCode(97 + (at % 26)));
  for (const [at, letter] of letters.entries()) {
    says(letter);
    if (at === bound - 1) t.strictSame(divergences, [], 'there is room for that many');
  }
  t.strictSame(
    divergences.map(({ reason }) => reason),
    ['overflow'],
  );
  t.equal(left(), '');
  packets.epochCaptured(e(1), 'comparing');
  t.equal(outputs(), letters.join(''));
  packets.permit(e(1), never);
  let all = '';
  for (let turns = 0; all.length < letters.length && turns < 1000; turns++) {
    all += left();
    await turn();
  }
  t.equal(all, letters.join(''), 'in order');
  t.equal(packets.facts.lost, 0);
});

test('output of a flow that is buffered waits for a checkpoint, and that of one that passes for nothing', async (t) => {
  const { packets, says, standbySays, left, events, divergences } = comparedRig(t);
  packets.permit(e(0), never);
  events.length = 0;
  says('a', 1, 123);
  standbySays('a', 1, 123);
  says('b', 1, 514);
  t.equal(left(), 'b');
  t.match(events, [{ kind: 'comparison-wants', epoch: e(1), why: 'output' }]);
  t.strictSame(divergences, [], 'which was asked for');
});

test('in a buffered epoch nothing is compared: all goes to S, and what S says is no concern', async (t) => {
  const { packets, says, standbySays, left, outputs, events } = comparedRig(t);
  packets.permit(e(0), never);
  packets.epochCaptured(e(1), 'buffered');
  events.length = 0;
  says('a', 2);
  standbySays('a', 2);
  t.equal(left(), '');
  t.equal(outputs(), 'a');
  t.match(events, [{ kind: 'output-waits' }]);
});

test('the core hears how long output has waited until it left, in which mode, once', async (t) => {
  const { packets, says, standbySays, events, state, left } = comparedRig(t);
  packets.permit(e(0), never);
  events.length = 0;
  for (const letter of ['a', 'b']) {
    says(letter);
    state.now += 30;
    standbySays(letter);
  }
  says('c');
  packets.epochCaptured(e(1), 'buffered');
  state.now += 100;
  packets.permit(e(1), never);
  t.equal(left(), 'abc');
  says('d', 2);
  const told = () => events.filter((event) => event.kind === 'output-waited');
  while (told().length === 0) await turn();
  t.same(told(), [{ kind: 'output-waited', mode: 'comparing', packets: 3, waitedMs: 160 }]);
  state.now += 7;
  packets.permit(e(2), never);
  while (told().length === 1) await turn();
  t.same(told().at(-1), { kind: 'output-waited', mode: 'buffered', packets: 1, waitedMs: 7 });
});

test('a connection that goes on through a buffered epoch is compared from where it is then', async (t) => {
  const { packets, says, standbySays } = comparedRig(t);
  const data = (sequence: number) => tcpPacket({ sequence, acknowledgement: 1, flags: tcpFlag.ack, payload: 'four' });
  packets.permit(e(0), never);
  says(data(0));
  standbySays(data(0));
  packets.epochCaptured(e(1), 'buffered');
  says(data(4), 2);
  packets.epochCaptured(e(2), 'comparing');
  packets.permit(e(2), never);
  t.equal(packets.facts.packets, 0);
  says(data(8), 3);
  t.equal(packets.facts.packets, 1);
  standbySays(data(8), 3);
  t.equal(packets.facts.packets, 0, 'S has said it');
});

test('what P says again in a new epoch waits until S has the checkpoint that it began from: until then S never said it', async (t) => {
  const { packets, says, standbySays } = comparedRig(t);
  const data = (sequence: number, acknowledgement: number) =>
    tcpPacket({ sequence, acknowledgement, flags: tcpFlag.ack, payload: 'four' });
  packets.permit(e(0), never);
  says(data(0, 1));
  standbySays(data(0, 1));
  t.equal(packets.facts.packets, 0);
  says(data(4, 9));
  t.equal(packets.facts.packets, 1, 'the link is cut: S got no question to answer');
  packets.epochCaptured(e(1), 'comparing');
  says(data(4, 9), 2);
  t.equal(packets.facts.packets, 2, 'S may take over, with a guest that was never asked');
  packets.permit(e(1), never);
  t.equal(packets.facts.packets, 0, 'S goes on from a state that has said it');
});

/** Both guests say letters of a connection until there is no room for more, or they have said so many; all that left meanwhile. */
function sayTogether({ says, standbySays, left }: ReturnType<typeof comparedRig>, most: number, port: number): string {
  let all = '';
  for (let count = 0; count < most; count++) {
    const letter = String.fromCharCode(97 + (count % 26));
    if (!says(letter, 1, port)) break;
    standbySays(letter, 1, port);
    all += left();
  }
  return all;
}

test('what waits stays as it was said, whatever leaves before it, and what follows finds room when it has left', async (t) => {
  const rig = comparedRig(t, ringBytes);
  const { packets, says, standbySays, left, outputs } = rig;
  packets.permit(e(0), never);
  says('A', 1, 53);
  const before = sayTogether(rig, 1000, 54).length;
  t.ok(before > 10 && before < 1000, 'the rest of the ring, and no more');
  packets.epochCaptured(e(1), 'comparing');
  t.equal(outputs(), 'A', 'S gets what the guest said');
  packets.permit(e(1), never);
  t.equal(left(), 'A');
  await turn();
  t.ok(says('z', 2, 54), 'there is room again');
  standbySays('z', 2, 54);
  t.equal(left(), 'z');
});

test('a packet that is matched last gives back what left before it', async (t) => {
  const rig = comparedRig(t, ringBytes);
  const { packets, says, standbySays, left } = rig;
  packets.permit(e(0), never);
  says('A', 1, 53);
  sayTogether(rig, 1000, 54);
  standbySays('A', 1, 53);
  t.equal(left(), 'A');
  t.equal(sayTogether(rig, 1000, 54).length, 1000, 'many times what the ring holds');
});

test('a packet that keeps what left behind it from being free wants a checkpoint once there is no room, and only once', async (t) => {
  const rig = comparedRig(t, ringBytes);
  const { packets, says, events, state } = rig;
  packets.permit(e(0), never);
  events.length = 0;
  says('A', 1, 53);
  state.now += 70;
  sayTogether(rig, 20, 54);
  t.strictSame(events, [], 'not while there is room');
  sayTogether(rig, 1000, 54);
  says('x', 1, 54);
  t.match(events, [{ kind: 'comparison-wants', epoch: e(1), why: 'backlog', waitedMs: 70 }]);
});

test('a ring that is full of what waits wants no checkpoint: its like may be on its way', async (t) => {
  const { packets, says, events } = comparedRig(t, ringBytes);
  packets.permit(e(0), never);
  events.length = 0;
  while (says('a', 1, 53));
  t.strictSame(events, []);
});

test('whatever connections wait, leave and fill the ring, each says what its guest said, in its order', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomNumbers(seed);
    const { packets, says, standbySays, taken } = comparedRig(t, ringBytes);
    packets.permit(e(0), never);
    const ports = [53, 54, 55, 56];
    const said = new Map(ports.map((port) => [port, '']));
    const owed: [letter: string, port: number][] = [];
    const out = new Map(ports.map((port) => [port, '']));
    const take = (): void => {
      for (const [port, letter] of taken()) out.set(port, out.get(port) + letter);
    };
    let epoch = 1;
    // S is silent on some of them until the epoch ends.
    let silent = random(4);
    for (let step = 0; step < 600; step++) {
      const at = random(4);
      const port = ports[at] as number;
      const letter = String.fromCharCode(97 + random(26));
      const hasRoom = says(letter, epoch, port);
      if (hasRoom) {
        said.set(port, said.get(port) + letter);
        if (at !== silent) owed.push([letter, port]);
      }
      for (let count = random(3); count > 0 && owed.length > 0; count--) {
        const [like, of] = owed.shift() as [string, number];
        standbySays(like, epoch, of);
      }
      take();
      if (hasRoom && random(100) > 0) continue;
      packets.epochCaptured(e(epoch), 'comparing');
      packets.permit(e(epoch), never);
      epoch++;
      owed.length = 0;
      silent = random(4);
      await turn();
      packets.secondaryRuns(e(epoch - 1));
      take();
    }
    packets.epochCaptured(e(epoch), 'comparing');
    packets.permit(e(epoch), never);
    await turn();
    take();
    t.strictSame(out, said, `seed ${seed}`);
    packets.close();
  }
});
