import { test } from 'tap';
import { JsonSplitter } from '../../src/vmm/monitor/json-splitter.ts';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { FuzzFailure } from '../../tools/fuzz/fuzz-failure.ts';
import { fuzzQmp, notCoveredByQmp } from '../../tools/fuzz/fuzz-qmp.ts';

// `npm run fuzz -- qmp` does the same, as long as one likes.
const runs = 5000;

test('no hostile client brings the monitor down, or fills it', { timeout: 600_000 }, async (t) => {
  const coverage = new Coverage();
  fuzzQmp({ seed: 1, runs, coverage });
  t.strictSame(notCoveredByQmp(coverage), [], 'everything was tried');
});

/** The failure that cases find in such a splitter. */
function failureOf(makeSplitter: (limitBytes: number) => JsonSplitter): FuzzFailure | undefined {
  try {
    fuzzQmp({ seed: 1, runs: 500, coverage: new Coverage(), makeSplitter });
    return undefined;
  } catch (error) {
    if (error instanceof FuzzFailure) return error;
    throw error;
  }
}

class Forgetful extends JsonSplitter {
  override push(chunk: Uint8Array): void {
    super.push(chunk.subarray(0, 39));
  }
}

class Greedy extends JsonSplitter {
  constructor(limitBytes: number) {
    super(limitBytes * 1000);
  }
}

class Deaf extends JsonSplitter {
  override push(chunk: Uint8Array): void {
    super.push(chunk.filter((byte) => byte < 0xfe));
  }
}

for (const [what, makeSplitter, message] of [
  ['loses bytes', (limit) => new Forgetful(limit), /depend on how the bytes are cut|a good client gets/],
  ['holds whatever comes', (limit) => new Greedy(limit), /\d+ bytes are held/],
  ['does not begin anew', (limit) => new Deaf(limit), /a good client gets/],
] as const satisfies readonly (readonly [string, (limit: number) => JsonSplitter, RegExp])[]) {
  test(`finds a parser that ${what}, and says how to see it again`, async (t) => {
    const first = failureOf(makeSplitter);
    t.match(first?.message, message);
    t.match(first?.message, /^qmp, seed \d+: .*\n {2}again: npm run fuzz -- qmp --seed \d+ --runs 1$/);
    t.equal(failureOf(makeSplitter)?.message, first?.message, 'the same seed fails the same way');
  });
}
