import { test } from 'tap';
import { DiskLog } from '../../../../../src/colo/core/epochs/disk-log.ts';
import { DiskWindow } from '../../../../../src/colo/core/epochs/disk-window.ts';
import { EpochOrder } from '../../../../../src/colo/core/epochs/epoch-order.ts';
import { Gate } from '../../../../../src/colo/core/epochs/gate.ts';
import { PacketKeep } from '../../../../../src/colo/core/epochs/packet-keep.ts';
import { specification as rules } from '../../../../../src/colo/core/rules.ts';
import { epoch as e, noCheckpoint } from '../../../../../src/colo/protocol/numbers.ts';

/** Everything that may leave now. */
function out(gate: Gate<string>, now: number): string[] {
  const packets: string[] = [];
  for (let packet = gate.next(now); packet !== undefined; packet = gate.next(now)) packets.push(packet);
  return packets;
}

test('a gate that holds lets a packet go when content and time both allow it', async (t) => {
  const gate = new Gate<string>('direct', rules);
  gate.set('holding');
  gate.take('a', e(1));
  gate.take('b', e(2));
  t.same(out(gate, 0), []);
  gate.permit(e(1), 100);
  t.same(out(gate, 100), [], 'time is over');
  t.equal(gate.left, 0);
  t.same(out(gate, 99), ['a']);
  t.equal(gate.left, 1);
  t.equal(gate.newest, 2);
  gate.permit(e(2), Number.NEGATIVE_INFINITY);
  t.same(out(gate, 0), [], 'consent was withdrawn');
});

test('a gate that opens sends what it held first; one that shuts drops it and stays shut', async (t) => {
  const gate = new Gate<string>('holding', rules);
  gate.take('a', e(1));
  gate.set('direct');
  gate.take('b', e(1));
  t.same(out(gate, 0), ['a', 'b']);
  gate.take('c', e(1));
  gate.set('shut');
  gate.set('holding');
  gate.take('d', e(1));
  gate.permit(e(9), Number.POSITIVE_INFINITY);
  t.same(out(gate, 0), []);
  t.equal(gate.held, 0);
});

test('a stream takes the open epoch alone, and its end with the right number of items', async (t) => {
  const order = new EpochOrder(rules);
  order.item('disk-write', e(0));
  t.throws(() => order.item('disk-write', e(1)), {
    message: 'the peer sent disk-write of epoch 1 while epoch 0 is open',
  });
  t.throws(() => order.end('disk-end', e(0), 2), { message: 'disk-end counts 2 items in epoch 0, 1 came' });
  order.end('disk-end', e(0), 1);
  t.ok(order.hasEnded(e(0)));
  t.throws(() => order.item('disk-write', e(0)), { message: /of epoch 0 while epoch 1 is open/ });
});

test('the window says when a checkpoint is wanted and when the guest must wait', async (t) => {
  const window = new DiskWindow(100, rules);
  t.notOk(window.forward(40));
  t.ok(window.forward(20), 'half');
  t.notOk(window.forward(20), 'once');
  t.notOk(window.mustWait);
  window.forward(20);
  t.ok(window.mustWait);
  t.ok(window.isHalfFull);
  t.ok(window.laid(60));
  t.notOk(window.laid(30), 'that is no more than it had said');
  t.equal(window.outstandingBytes, 40);
  t.notOk(window.isHalfFull);
  t.throws(() => window.laid(101), { message: 'the peer laid down 101 bytes, 100 were sent' });
});

test('a log that stays more than half full wants a checkpoint for each half of it', async (t) => {
  const window = new DiskWindow(100, rules);
  const log = new DiskLog<ReturnType<typeof write>>(100, rules);
  let laid = 0;
  const wanted: number[] = [];
  for (let count = 0, n = 1; count < 60; count++) {
    const isWanted = window.forward(10);
    t.equal(log.append(write(n)), isWanted, 'both sides want it at once');
    if (isWanted) {
      wanted.push(count);
      log.commit(e(n++));
      window.epochEnded();
    }
    // The guest has a write for each place that comes free.
    while (window.mustWait) {
      if (log.nextToLay() === undefined) throw new Error('nothing may be laid down, and the guest waits');
      log.laid();
      laid += 10;
      window.laid(laid);
    }
  }
  t.same(wanted.slice(0, 4), [4, 9, 14, 19]);
});

test('where there is room, a copy that waits for it has none of the upper half', async (t) => {
  const window = new DiskWindow(1000, rules);
  t.ok(window.copyMayForward(10, false));
  window.forwardCopy(500);
  t.notOk(window.copyMayForward(10, false));
  t.notOk(window.mustWait, 'the guest has it');
});

test('a guest that writes more than the disk takes has three parts of it, and a copy that waits the fourth', async (t) => {
  const window = new DiskWindow(1000, rules);
  const had = { guest: 0, copy: 0 };
  let laid = 0;
  while (!window.mustWait) window.forward(10);
  window.copyWaits(true);
  for (let turns = 0; turns < 400; turns++) {
    laid += 10;
    window.laid(laid);
    if (window.copyMayForward(10, false)) {
      window.forwardCopy(10);
      had.copy += 10;
    }
    while (!window.mustWait) {
      window.forward(10);
      had.guest += 10;
    }
    t.ok(window.outstandingBytes <= 1000);
  }
  t.same(had, { guest: 3000, copy: 1000 });
});

test('a block for which the guest is held waits for no more than its own room', async (t) => {
  const window = new DiskWindow(1000, rules);
  for (let count = 0; count < 100; count++) window.forward(10);
  window.forwardCopy(0);
  t.notOk(window.copyMayForward(100, true), 'there is none');
  window.laid(100);
  t.notOk(window.copyMayForward(100, false), 'it is not its turn');
  t.ok(window.copyMayForward(100, true));
});

test('nobody waits for a copy that does not', async (t) => {
  const window = new DiskWindow(1000, rules);
  for (let count = 0; count < 99; count++) window.forward(10);
  window.copyWaits(true);
  t.ok(window.mustWait, 'it has its turn');
  window.copyWaits(false);
  t.notOk(window.mustWait);
});

const write = (n: number, bytes = 10) => ({ epoch: e(n), bytes, name: `write of ${n}` });

test('the log lays down what was committed, in order, and nothing of the open epoch', async (t) => {
  const log = new DiskLog<ReturnType<typeof write>>(100, rules);
  log.append(write(1));
  log.append(write(2));
  t.equal(log.nextToLay(), undefined);
  log.commit(e(1));
  t.equal(log.nextToLay()?.epoch, 1);
  t.notOk(log.mayAnswerFlush, 'committed, and not durable');
  log.laid();
  t.equal(log.nextToLay(), undefined);
  t.equal(log.laidBytes, 10);
  t.ok(log.mayAnswerFlush);
});

test('a takeover keeps what belongs to its checkpoint, and drops what does not', async (t) => {
  const log = new DiskLog<ReturnType<typeof write>>(100, rules);
  for (const n of [1, 2, 2, 3]) log.append(write(n));
  log.commit(e(1));
  log.discard(e(2));
  t.same([log.length, log.bytes, log.first?.epoch, log.at(1)?.epoch, log.at(2)?.epoch], [3, 30, 1, 2, 2]);
  for (let laid = 0; laid < 3; laid++) log.laid();
  t.ok(log.isLaid);
  t.equal(log.laidBytes, 30);
});

test('a log of many small changes is emptied in a time that follows from their number', async (t) => {
  const bytes = 64;
  const many = 300_000;
  const log = new DiskLog<ReturnType<typeof write>>(many * bytes, rules);
  const change = write(1, bytes);
  for (let count = 0; count < many; count++) log.append(change);
  log.commit(e(1));
  const began = performance.now();
  for (let count = 0; count < many; count++) log.laid();
  // An array that is shifted takes more than ten seconds.
  t.ok(performance.now() - began < 3000);
  t.ok(log.isLaid);
  t.equal(log.bytes, 0);
});

test('a peer that writes more than the log holds is refused', async (t) => {
  const log = new DiskLog<ReturnType<typeof write>>(20, rules);
  t.ok(log.append(write(1)));
  log.append(write(1));
  t.throws(() => log.append(write(1)), { message: /more than the 20 bytes that the disk log holds/ });
});

test('S keeps output until it left, and input until a checkpoint has it', async (t) => {
  const keep = new PacketKeep<string>(1000, rules);
  keep.keep('input', e(1), 'in 1', 10);
  keep.keep('output', e(1), 'out 1', 10);
  keep.keep('output', e(2), 'out 2', 10);
  keep.keep('input', e(3), 'in 3', 10);
  keep.keep('output', e(3), 'out 3', 10);
  keep.left(e(1));
  keep.committed(e(2));
  t.same(keep.outputsToSend(e(2)), ['out 2'], 'not what the checkpoint does not explain');
  t.same(keep.inputsToReplay(e(2)), ['in 3']);
  t.equal(keep.bytes, 30);
});

test('beyond its bound the oldest packets go, and are counted', async (t) => {
  const keep = new PacketKeep<number>(100, rules);
  for (let n = 0; n < 15; n++) keep.keep('output', e(0), n, 10);
  t.equal(keep.dropped, 5);
  t.same(keep.outputsToSend(e(0)), [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  keep.clear();
  t.equal(keep.bytes, 0);
  t.same(keep.outputsToSend(noCheckpoint), []);
});
