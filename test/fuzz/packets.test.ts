import { test } from 'tap';
import { Comparator } from '../../src/colo/compare/comparator.ts';
import { PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { Translator } from '../../src/colo/translate/translator.ts';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { FuzzFailure } from '../../tools/fuzz/fuzz-failure.ts';
import { fuzzPackets, notCoveredByPackets, type PacketsFuzzOptions } from '../../tools/fuzz/fuzz-packets.ts';

// `npm run fuzz -- packets` does the same, as long as one likes.
const runs = 4000;

test('no hostile frame brings comparison or translation down, fills them, leaves alone, or is changed', {
  timeout: 600_000,
}, async (t) => {
  const coverage = new Coverage();
  fuzzPackets({ seed: 1, runs, coverage });
  t.strictSame(notCoveredByPackets(coverage), [], 'everything was tried');
});

/** The failure that cases find in such a comparator, or translator. */
function failureOf(attacked: Pick<PacketsFuzzOptions, 'makeComparator' | 'makeTranslator'>) {
  try {
    fuzzPackets({ seed: 1, runs: 300, coverage: new Coverage(), ...attacked });
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
    const first = failureOf({ makeComparator: (...parts) => new comparator(...parts) });
    t.match(first?.message, message);
    t.match(first?.message, /^packets, seed \d+: .*\n {2}again: npm run fuzz -- packets --seed \d+ --runs 1$/);
  });
}

type Incoming = Parameters<Translator['incoming']>;
type Outgoing = Parameters<Translator['outgoing']>;

class Scribbling extends Translator {
  override outgoing(card: number, bytes: Uint8Array, offset: number, length: number, now: number): boolean {
    const maySee = super.outgoing(card, bytes, offset, length, now);
    if (length > 40) bytes[offset + 40] = 0xaa;
    return maySee;
  }
}

class Overrunning extends Translator {
  override incoming(...[card, bytes, offset, length, now]: Incoming): void {
    super.incoming(card, bytes, offset, length, now);
    bytes[offset + length] = 0xaa;
  }
}

class Careless extends Translator {
  override outgoing(...[card, bytes, offset, length, now]: Outgoing): boolean {
    const [before, sequence] = [new PacketView(), new PacketView()];
    before.read(Uint8Array.from(bytes), offset, length);
    const maySee = super.outgoing(card, bytes, offset, length, now);
    if (sequence.read(bytes, offset, length) === packetKind.tcp && sequence.sequence !== before.sequence) {
      bytes[sequence.checksum] = ~(bytes[sequence.checksum] as number);
    }
    return maySee;
  }
}

class Hoarding extends Translator {
  override scan(): void {}
}

class Eager extends Translator {
  override takeOver(): void {}
}

for (const [what, translator, message] of [
  ['changes more than numbers', Scribbling, /was changed/],
  ['writes behind a packet', Overrunning, /was changed/],
  ['spoils checksums', Careless, /a checksum that was right is wrong/],
  ['forgets nothing', Hoarding, /never forgotten/],
  ['takes connections up after a takeover', Eager, /taken up|withheld though/],
] as const) {
  test(`finds a translation that ${what}`, async (t) => {
    t.match(failureOf({ makeTranslator: (...parts) => new translator(...parts) })?.message, message);
  });
}
