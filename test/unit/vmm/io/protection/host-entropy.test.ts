import { type Test, test } from 'tap';
import { viewMemory } from '../../../../../src/host/libc/memory.ts';
import { AnonymousMapping } from '../../../../../src/host/mappings/mapping.ts';
import { HostEntropy } from '../../../../../src/vmm/io/protection/host-entropy.ts';
import { EpochSeed } from '../../../../../src/vmm/platform/shared-protection.ts';

/** A guest's entropy, of which the kernel's share is all of one byte. */
function guest(t: Test, kernelByte: number) {
  const memory = new AnonymousMapping('test', 4096);
  const bytes = new Uint8Array(viewMemory(memory.address, memory.sizeBytes));
  const entropy = new HostEntropy({
    fill: (address, length) => {
      bytes.fill(kernelByte, address - memory.address, address - memory.address + length);
      return length;
    },
  });
  t.teardown(() => {
    entropy.close();
    memory.close();
  });
  const draw = (length = 16): string => {
    if (entropy.fill(memory.address, length) !== length) throw new Error('filled less');
    return Buffer.from(bytes.subarray(0, length)).toString('hex');
  };
  return { entropy, draw };
}

const seedOf = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const kernels = 'ab'.repeat(16);

test('two guests draw the same from one checkpoint on, and other bytes from the next', async (t) => {
  const [primary, secondary] = [guest(t, 0xab), guest(t, 0xcd)];
  const seeds = [new EpochSeed(), new EpochSeed()] as const;
  primary.entropy.follow(seeds[0].storage);
  secondary.entropy.follow(seeds[1].storage);
  t.equal(primary.draw(), kernels, "before the first checkpoint it is the kernel's");
  const seen = new Set<string>();
  for (const seed of [1, 2, 3]) {
    for (const cell of seeds) cell.give(seedOf(seed));
    // S is behind, and its guest asks in other pieces.
    const mine = primary.draw(48);
    const theirs = secondary.draw(7) + secondary.draw(25);
    t.equal(theirs, mine.slice(0, 64));
    seen.add(mine);
  }
  t.equal(seen.size, 3);
});

test('who runs from a checkpoint again draws the same again, whatever it has drawn', async (t) => {
  const { entropy, draw } = guest(t, 0xab);
  const seed = new EpochSeed();
  entropy.follow(seed.storage);
  seed.give(seedOf(1));
  const first = draw();
  t.not(draw(), first);
  seed.give(seedOf(1));
  t.equal(draw(), first);
});

test("a guest that nobody follows any more draws the kernel's, and never what the generator had left", async (t) => {
  const { entropy, draw } = guest(t, 0xab);
  t.equal(draw(), kernels, 'as before it was protected');
  const seed = new EpochSeed();
  entropy.follow(seed.storage);
  seed.give(seedOf(1));
  t.not(draw(), kernels);
  entropy.release();
  t.equal(draw(), kernels);
  entropy.follow(new EpochSeed().storage);
  t.equal(draw(), kernels, 'as a primary, too, until its first checkpoint');
});

test('a seed is nowhere where threads share memory once it is taken, or of no use', async (t) => {
  const { entropy, draw } = guest(t, 0xab);
  const seed = new EpochSeed();
  const left = (): boolean => new Uint8Array(seed.storage).some((byte) => byte !== 0);
  entropy.follow(seed.storage);
  seed.give(seedOf(1));
  t.ok(left());
  draw();
  t.notOk(left());
  seed.give(seedOf(2));
  entropy.release();
  t.notOk(left());
  t.equal(draw(), kernels);
});
