import { test } from 'tap';
import { Speakers } from '../../../../tools/chaos/speakers.ts';

const frame = Uint8Array.of(0xff, 0x02);

test('one host after the other one may speak', async (t) => {
  const speakers = new Speakers();
  for (const host of ['a', 'a', 'b', 'b'] as const) speakers.spoke(host, frame);
  t.equal(speakers.speaker, 'b');
  t.strictSame(speakers.frames, { a: 2, b: 2 });
  t.strictSame(speakers.violations, []);
});

test('a host that speaks after the other one has is a second speaker', async (t) => {
  const speakers = new Speakers();
  for (const host of ['a', 'b', 'a', 'b'] as const) speakers.spoke(host, frame);
  t.match(speakers.violations, [/host a spoke after the other one had: ff02/]);
  t.equal(speakers.speaker, 'b');
});

test('another guest may begin anywhere', async (t) => {
  const speakers = new Speakers();
  for (const host of ['a', 'b', 'a'] as const) speakers.spoke(host, frame);
  speakers.begin();
  speakers.spoke('a', frame);
  t.strictSame(speakers.violations, []);
  t.equal(speakers.speaker, 'a');
});
