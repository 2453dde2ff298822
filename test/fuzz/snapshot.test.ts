import { test } from 'tap';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { fuzzSnapshot, snapshotOutcomes } from '../../tools/fuzz/fuzz-snapshot.ts';

test('whatever a snapshot says, it is refused or read', { timeout: 600_000 }, async (t) => {
  const coverage = new Coverage();
  await fuzzSnapshot({ seed: 1, runs: 4_000, coverage });
  const missing = snapshotOutcomes.filter((outcome) => coverage.of(`snapshot ${outcome}`) === 0);
  t.strictSame(missing, [], 'everything was tried');
});
