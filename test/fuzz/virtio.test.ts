import { test } from 'tap';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { notCovered } from '../../tools/fuzz/expected-coverage.ts';
import { fuzzVirtio } from '../../tools/fuzz/fuzz-virtio.ts';
import { fuzzTargets } from '../../tools/fuzz/targets.ts';

// `npm run fuzz -- virtio` does the same, as long as one likes.
const runs = 50_000;

for (const [name, make] of Object.entries(fuzzTargets)) {
  test(`no hostile driver brings the ${name} device down, or out of its RAM`, { timeout: 600_000 }, async (t) => {
    const target = make();
    const coverage = new Coverage();
    try {
      fuzzVirtio(target, { seed: 1, runs, coverage });
    } finally {
      target.close();
    }
    t.strictSame(notCovered(target, coverage), [], 'everything was tried');
  });
}
