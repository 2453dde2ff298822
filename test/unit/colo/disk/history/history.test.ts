import { test } from 'tap';
import { decodeHistory, encodeHistory, suspicionOf } from '../../../../../src/colo/disk/history/history.ts';

const history = { generation: 'ab'.repeat(16), regions: Uint8Array.of(1, 2, 3) };

test('what fits is trusted, and nothing else', async (t) => {
  const own = ['cd'.repeat(16), history.generation];
  t.strictSame(suspicionOf(own, history, 3), { kind: 'known', regions: history.regions });
  t.match(suspicionOf([], history, 3), { kind: 'all', why: /never in step/ });
  t.match(suspicionOf(own, undefined, 3), { kind: 'all', why: /nothing certain/ });
  t.match(suspicionOf(own.slice(0, 1), history, 3), { kind: 'all', why: /other disks than these/ });
  t.match(suspicionOf(own, history, 4), { kind: 'all', why: /has other disks/ });
});

test('it travels, and whatever a peer sends is read without harm', async (t) => {
  t.strictSame(decodeHistory(encodeHistory(history)), history);
  t.equal(decodeHistory(encodeHistory(undefined)), undefined);
  t.equal(decodeHistory(new Uint8Array(15)), undefined);
  t.match(decodeHistory(new Uint8Array(16)), { generation: '00'.repeat(16), regions: new Uint8Array(0) });
});
