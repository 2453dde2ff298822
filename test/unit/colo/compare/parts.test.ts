import { test } from 'tap';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { CompareRig } from '../../../support/compare-rig.ts';
import { type TcpParts, tcpPacket } from '../../../support/packets.ts';

const { syn, ack, fin, psh } = tcpFlag;
const isn = 1000;

function data(at: number, payload: string, parts: TcpParts = {}): Uint8Array {
  return tcpPacket({ sequence: isn + 1 + at, payload, ...parts });
}

function pure(acknowledgement: number, at = 0): Uint8Array {
  return tcpPacket({ sequence: isn + 1 + at, acknowledgement });
}

/** A connection that a client opened: P's first packet is 2 then, S's 1002. */
function opened(): CompareRig {
  const rig = new CompareRig();
  rig.both(tcpPacket({ sequence: isn, acknowledgement: 500, flags: syn | ack }));
  rig.released.length = 0;
  rig.dropped.length = 0;
  return rig;
}

test('S says a part, and waits until that is acknowledged: it leaves, and then the rest', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two three', { flags: ack | psh }));
  rig.s(data(0, 'one'));
  t.ok(rig.comparator.hasParts);
  t.strictSame(rig.parts, [], 'it is not asked for at once: the rest may be on its way');
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, [[2, 3]]);
  t.strictSame(rig.dropped, [1002], 'S need not keep what has left');
  t.notOk(rig.comparator.hasParts);
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, [[2, 3]], 'once');
  rig.s(data(3, ' two'));
  rig.comparator.releaseParts();
  t.strictSame(rig.parts.slice(1), [[2, 4]], 'of what is left');
  t.strictSame(rig.released, []);
  rig.s(data(7, ' three'));
  t.strictSame([rig.released, rig.dropped], [[2], [1002, 1003, 1004]]);
  t.strictSame(rig.divergences, []);
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
});

test('where the rest comes in time nothing leaves in part', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two'));
  rig.s(data(0, 'one'));
  rig.s(data(3, ' two'));
  rig.comparator.releaseParts();
  t.strictSame([rig.parts, rig.released], [[], [2]]);
});

test('S was first, and P says more in one packet', async (t) => {
  const rig = opened();
  rig.s(data(0, 'one'));
  rig.p(data(0, 'one two'));
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, [[2, 3]]);
});

test('a part waits for the acknowledgement that it carries, and for whoever lets it out', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two', { acknowledgement: 600 }));
  rig.s(data(0, 'one', { acknowledgement: 599 }));
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, []);
  rig.keepsParts = true;
  rig.s(pure(600, 3));
  rig.comparator.releaseParts();
  t.strictSame(rig.dropped, [1003], 'S keeps what did not leave');
  rig.keepsParts = false;
  rig.comparator.scan(10);
  t.ok(rig.comparator.hasParts, 'it is tried again');
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, [[2, 3]]);
});

test('what is sent again leaves in part again: the first one may be lost', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two'));
  rig.s(data(0, 'one'));
  rig.comparator.releaseParts();
  rig.p(data(0, 'one two three'));
  rig.s(data(3, ' two'));
  t.strictSame(rig.released, [2]);
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, [
    [2, 3],
    [3, 7],
  ]);
});

test('after a part bytes that differ are found at their place, and a checkpoint forgets the part', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two'));
  rig.s(data(0, 'one'));
  rig.comparator.releaseParts();
  rig.s(data(3, ' 2'));
  t.match(rig.divergences, [{ reason: 'payload', position: 4 }]);
  t.notOk(rig.comparator.hasParts);
  rig.checkpoint();
  rig.both(data(7, ' three'));
  t.strictSame([rig.released, rig.parts], [[3], [[2, 3]]]);
});

test('a FIN leaves with the last part', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two', { flags: ack | fin }));
  rig.s(data(0, 'one'));
  rig.comparator.releaseParts();
  rig.s(data(3, ' two', { flags: ack | fin }));
  t.strictSame([rig.parts, rig.released, rig.divergences], [[[2, 3]], [2], []]);
});

test('an epoch ends while a part waits: nothing is asked for', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two'));
  rig.s(data(0, 'one'));
  rig.checkpoint();
  rig.comparator.releaseParts();
  t.strictSame(rig.parts, []);
});

test('an acknowledgement does not wait for bytes before it that S owes', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one two'));
  rig.p(pure(700, 7));
  rig.p(data(7, ' three'));
  rig.p(pure(800, 13));
  rig.p(pure(900, 13));
  rig.s(data(0, 'one'));
  t.strictSame(rig.released, []);
  rig.s(pure(800, 3));
  t.strictSame(rig.released, [3, 5], 'as far as S has acknowledged');
  t.strictSame(rig.dropped, [1003], 'and S keeps its bytes: none of them has left');
  rig.s(data(3, ' two three', { acknowledgement: 900 }));
  t.strictSame(rig.released, [3, 5, 2, 4, 6]);
  t.strictSame(rig.dropped, [1003, 1002, 1004]);
  t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
});

test('a checkpoint forgets acknowledgements that wait', async (t) => {
  const rig = opened();
  rig.p(data(0, 'one'));
  rig.p(pure(700, 3));
  rig.checkpoint();
  rig.p(data(3, ' two'));
  rig.p(pure(800, 7));
  rig.s(pure(800, 3));
  t.strictSame(rig.released, [5]);
});
