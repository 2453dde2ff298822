import { test } from 'tap';
import { checkpointOrder, outOfOrder } from '../../../../src/colo/protocol/checkpoint-order.ts';
import { messageTable } from '../../../../src/colo/protocol/message-table.ts';
import { epoch, next, noCheckpoint, peerOf, term } from '../../../../src/colo/protocol/numbers.ts';

test('a checkpoint is seven messages, of which each names the next, and begins again with a request', async (t) => {
  const round: string[] = [];
  let kind: keyof typeof checkpointOrder = 'checkpoint-ready';
  for (let message = 0; message < 8; message++) {
    round.push(`${checkpointOrder[kind].from}: ${kind}`);
    kind = checkpointOrder[kind].next;
  }
  t.strictSame(round, [
    'secondary: checkpoint-ready',
    'primary: checkpoint-request',
    'secondary: checkpoint-reply',
    'primary: vmstate-send',
    'primary: vmstate-size',
    'secondary: vmstate-received',
    'secondary: vmstate-loaded',
    'primary: checkpoint-request',
  ]);
});

test('whoever says a message of a checkpoint may send it', async (t) => {
  for (const [kind, { from }] of Object.entries(checkpointOrder)) {
    t.equal(messageTable[kind as keyof typeof checkpointOrder].from, from);
  }
});

test('a message out of order is told with what was expected', async (t) => {
  t.match(outOfOrder('vmstate-size', 'vmstate-send'), {
    name: 'ProtocolError',
    code: 'COLO_PROTOCOL',
    fault: 'out-of-order',
    message: 'the peer sent vmstate-size where vmstate-send was expected',
  });
  t.match(outOfOrder('vmstate-size', undefined), {
    fault: 'out-of-order',
    message: 'the peer sent vmstate-size where it had nothing to say',
  });
});

test('epochs and terms are counted one by one; before the first checkpoint is none', async (t) => {
  t.equal(next(noCheckpoint), epoch(0));
  t.equal(next(epoch(41)), 42);
  t.equal(next(term(1)), 2);
});

test('at the other end of a primary sits a secondary', async (t) => {
  t.equal(peerOf('primary'), 'secondary');
  t.equal(peerOf('secondary'), 'primary');
});
