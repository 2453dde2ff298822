import { type Test, test } from 'tap';
import { specification } from '../../../../src/colo/core/rules.ts';
import { KeptPackets } from '../../../../src/colo/gate/kept-packets.ts';
import { OwnPackets } from '../../../../src/colo/gate/own-packets.ts';
import { PrimaryPackets } from '../../../../src/colo/gate/primary-packets.ts';
import { epoch as e } from '../../../../src/colo/protocol/numbers.ts';
import type { PacketRecord } from '../../../../src/colo/record/packet-record.ts';
import { RecordProducer } from '../../../../src/host/threads/record-ring.ts';
import { kindOfCard, newSharedPackets, newSharedReplica } from '../../../../src/vmm/platform/packet-rings.ts';
import { udpPacket } from '../../../support/packets.ts';
import { fakeTap, packet, seedOf } from './fake-taps.ts';

const never = Number.POSITIVE_INFINITY;

/** What is recorded, a line each. */
function recorder(): { record: PacketRecord; said: () => string[] } {
  const lines: string[] = [];
  const record: PacketRecord = {
    packet: (decision, guest, direction, card, epoch, reason, bytes, offset = 0, length = bytes.length) => {
      const part = Uint8Array.from(bytes.subarray(offset, offset + length));
      const of = part.length === packet(0).length ? ` ${seedOf(part)}` : '';
      lines.push(`${decision} ${guest} ${direction}${of} on ${card} in ${epoch}: ${reason}`);
    },
  };
  return { record, said: () => lines.splice(0) };
}

function put(ring: RecordProducer, epoch: number, bytes: Uint8Array, card = 0): void {
  const at = ring.reserve(bytes.length);
  if (at < 0) throw new Error('no room');
  ring.bytes.set(bytes, at);
  ring.commit(kindOfCard(card), epoch);
}

/** P's packets, which are recorded. */
function primaryRig(t: Test) {
  const tap = fakeTap(t);
  const shared = newSharedPackets();
  const { record, said } = recorder();
  const packets = new PrimaryPackets({
    shared,
    taps: [tap.fd],
    rules: specification,
    send: () => true,
    flush: () => {},
    post: () => {},
    now: () => 1000,
    wakeIo: () => {},
    record,
    comparing: {
      policyOf: (view) => (view.sourcePort === 514 ? 'pass' : 'compare'),
      seed: 1,
      diverged: () => {},
    },
  });
  t.teardown(() => packets.close());
  const outbox = new RecordProducer(shared.outbox, () => {});
  const mirror = new RecordProducer(shared.mirror, () => {});
  return { packets, tap, outbox, mirror, said };
}

test('of the primary it is recorded what is mirrored, held, and let out by a checkpoint', async (t) => {
  const { packets, outbox, mirror, said } = primaryRig(t);
  put(outbox, 0, packet(1));
  packets.work();
  t.strictSame(said(), ['released primary out 1 on 0 in 0: nothing is held']);
  packets.hold();
  put(mirror, 0, packet(2));
  put(outbox, 0, packet(3));
  packets.work();
  t.strictSame(said(), [
    'mirrored primary in 2 on 0 in 0: sent to the standby',
    'held primary out 3 on 0 in 0: until a checkpoint covers it',
  ]);
  packets.epochCaptured(e(0));
  packets.permit(e(0), never);
  t.strictSame(said(), ['released primary out 3 on 0 in 0: a checkpoint covers it']);
});

test('of what is compared it is recorded whether both guests said it', async (t) => {
  const { packets, outbox, said } = primaryRig(t);
  packets.hold();
  packets.epochCaptured(e(0), 'comparing');
  packets.permit(e(0), never);
  packets.work();
  const answer = udpPacket({ sourcePort: 7, payload: 'answer' });
  put(outbox, 1, answer);
  put(outbox, 1, udpPacket({ sourcePort: 514, payload: 'log' }));
  packets.work();
  t.strictSame(said(), [
    'held primary out on 0 in 1: until both guests have said it',
    'held primary out on 0 in 1: until both guests have said it',
    'released primary out on 0 in 1: it is not compared',
  ]);
  packets.secondary({ kind: 'secondary-output', epoch: e(1), card: 0, data: answer });
  t.strictSame(said(), [
    'compared secondary out on 0 in 1: the primary looks for its like',
    'released primary out on 0 in 1: both guests have said it',
  ]);
});

test('what a TAP does not take, and what a side that is fenced holds, is dropped', async (t) => {
  const { packets, tap, outbox, said } = primaryRig(t);
  packets.hold();
  put(outbox, 0, packet(1));
  packets.work();
  said();
  packets.shut();
  t.strictSame(said(), ['dropped primary out 1 on 0 in 0: the other side goes on']);
  const gone = primaryRig(t);
  gone.tap.remove();
  put(gone.outbox, 0, packet(2));
  gone.packets.work();
  t.strictSame(gone.said(), ['dropped primary out 2 on 0 in 0: its TAP did not take it']);
  t.strictSame(tap.written(), []);
});

test('of a secondary it is recorded what its guest gets and says, and what of that is sent at a takeover', async (t) => {
  const tap = fakeTap(t);
  const shared = newSharedReplica(1, tap.fd);
  const { record, said } = recorder();
  const own = new OwnPackets({
    shared,
    taps: [tap.fd],
    send: () => true,
    flush: () => {},
    post: () => {},
    now: () => 1000,
    wakeIo: () => {},
    seed: 1,
    record,
  });
  t.teardown(() => own.close());
  const outbox = new RecordProducer(shared.outbox, () => {});
  own.begin(e(7));
  own.letIn(0, packet(1));
  put(outbox, 6, packet(2));
  put(outbox, 7, packet(3));
  own.work();
  await own.speak();
  t.strictSame(said(), [
    'mirrored secondary in 1 on 0 in 7: it enters the guest',
    'dropped secondary out 2 on 0 in 6: the guest was rolled back since',
    'held secondary out 3 on 0 in 7: the primary looks for its like',
    'released secondary out 3 on 0 in 7: a takeover: the primary has not confirmed that its like left',
  ]);
});

test("of a secondary it is recorded what it keeps of the primary's, and what becomes of that at a takeover", async (t) => {
  const tap = fakeTap(t);
  const { record, said } = recorder();
  const kept = new KeptPackets([tap.fd], specification, undefined, record);
  kept.stage({ kind: 'output', epoch: e(2), card: 0, data: packet(1) });
  kept.stage({ kind: 'input', epoch: e(3), card: 0, data: packet(2) });
  await kept.sendKept(e(2));
  kept.inputsToReplay(e(2));
  t.strictSame(said(), [
    'held primary out 1 on 0 in 2: until it has left the primary',
    'mirrored primary in 2 on 0 in 3: a takeover may need it',
    'released primary out 1 on 0 in 2: a takeover: it may not have left',
    'mirrored primary in 2 on 0 in 2: a takeover: the guest gets it again',
  ]);
});
