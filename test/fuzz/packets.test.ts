import { test } from 'tap';
import { Comparator } from '../../src/colo/compare/comparator.ts';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { FuzzFailure } from '../../tools/fuzz/fuzz-failure.ts';
import { fuzzPackets, notCoveredByPackets } from '../../tools/fuzz/fuzz-packets.ts';

// `npm run fuzz -- packets` does the same, as long as one likes.
const runs = 4000;

test('no hostile frame brings the comparison down, fills it, or leaves alone', { timeout: 600_000 }, async (t) => {
  const coverage = new Coverage();
  fuzzPackets({ seed: 1, runs, coverage });
  t.strictSame(notCoveredByPackets(coverage), [], 'everything was tried');
});

/** The failure that cases find in such a comparator. */
function failureOf(makeComparator: (...parts: ConstructorParameters<typeof Comparator>) => Comparator) {
  try {
    fuzzPackets({ seed: 1, runs: 300, coverage: new Coverage(), makeComparator });
    return undefined;
  } catch (error) {
    if (error instanceof FuzzFailure) return error;
    throw error;
  }
}

class Hasty extends Comparator {
  override primary(...args: Parameters<Comparator['primary']>): void {
    this.release(args[5]);
  }
}

class Stuttering extends Comparator {
  override release(handle: number): void {
    super.release(handle);
    super.release(handle);
  }
}

class Deaf extends Comparator {
  override secondary(...args: Parameters<Comparator['secondary']>): void {
    this.drop(args[5]);
  }
}

class Loose extends Comparator {
  override drop(): void {}
}

for (const [what, comparator, message] of [
  ['lets out what S has not said', Hasty, /leaves, (and S has not said it|which is not held)/],
  ['lets a packet out twice', Stuttering, /leaves, which is not held/],
  ['does not hear S', Deaf, /equal packets do not leave any more/],
  ['keeps packets of S for ever', Loose, /what has left is not dropped/],
] as const) {
  test(`finds a comparison that ${what}, and says how to see it again`, async (t) => {
    const first = failureOf((...parts) => new comparator(...parts));
    t.match(first?.message, message);
    t.match(first?.message, /^packets, seed \d+: .*\n {2}again: npm run fuzz -- packets --seed \d+ --runs 1$/);
  });
}
