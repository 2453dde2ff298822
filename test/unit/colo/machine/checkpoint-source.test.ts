import { test } from 'tap';
import { decodeState } from '../../../../src/colo/machine/checkpoint-state.ts';
import { epoch } from '../../../../src/colo/protocol/numbers.ts';
import { MiB } from '../../../../src/memory/address.ts';
import { checkpointRig } from '../../../support/checkpoint-rig.ts';

test("each checkpoint has a seed of its own, which P's guest draws from as well", async (t) => {
  const { source, seed } = checkpointRig(t, MiB);
  const given = new Uint8Array(32);
  const seen = new Set<string>();
  for (let n = 0; n < 4; n++) {
    const { state } = source.capture(epoch(n));
    const sent = decodeState(new Uint8Array(state.storage, 0, state.sizeBytes)).seed;
    t.ok(seed.take(given), 'it is there before the guest runs on');
    t.strictSame(sent, given);
    seen.add(Buffer.from(sent).toString('hex'));
  }
  t.equal(seen.size, 4);
});

test('a capture that fails leaves the guest the seed that it has', async (t) => {
  const { source, seed, machine } = checkpointRig(t, MiB);
  machine.state = 'ended';
  t.throws(() => source.capture(epoch(0)));
  t.notOk(seed.take(new Uint8Array(32)));
});
