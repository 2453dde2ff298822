import { test } from 'tap';
import type { LinkEnd } from '../../../../src/colo/link/peer-link.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../src/colo/protocol/numbers.ts';
import { FakeLink } from '../../../../tools/fuzz/peer/fake-link.ts';

const MiB = 1024 * 1024;

/** A link whose peer has left so much unread on a stream, and how it ended when `message` was sent. */
function sendsWith(unsentBytes: number, stream: 'control' | 'pages', message: Message): readonly LinkEnd[] {
  const peer = new FakeLink('primary', () => {});
  const ends: LinkEnd[] = [];
  peer.link.listen({ received: () => {}, drained: () => {}, ended: (end) => ends.push(end) });
  peer.pileUp(stream, unsentBytes);
  peer.link.send({ role: 'primary', term: term(1), message });
  return ends;
}

const beat: Message = { kind: 'heartbeat', clock: 1, echo: 1, laidBytes: 0 };

test('a peer that has its heartbeats answered, and reads none of the answers, is not answered for ever', async (t) => {
  t.strictSame(sendsWith(MiB / 2, 'control', beat), []);
  t.match(sendsWith(2 * MiB, 'control', beat), [
    { kind: 'failed', reason: /the peer reads nothing on the control stream/ },
  ]);
});

test('bulk that is slow to be read is no flood: its sender waits', async (t) => {
  const page: Message = { kind: 'pages', epoch: epoch(1), data: new Uint8Array(10) };
  t.strictSame(sendsWith(64 * MiB, 'pages', page), []);
  t.match(sendsWith(300 * MiB, 'pages', page), [{ kind: 'failed' }]);
});
