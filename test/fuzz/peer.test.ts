import { test } from 'tap';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { fuzzPeer, notCoveredByPeers } from '../../tools/fuzz/peer/fuzz-peer.ts';

test('whatever a peer says, nothing escapes and each side comes to a decision', { timeout: 600_000 }, async (t) => {
  const coverage = new Coverage();
  await fuzzPeer({ seed: 1, runs: 6_000, coverage });
  t.strictSame(notCoveredByPeers(coverage), [], 'everything was tried');
});
