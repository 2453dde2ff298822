import { gzipSync } from 'node:zlib';
import t from 'tap';
import { KernelImageError } from '../../../firmware/kernel-image-error.ts';
import { loadKernel } from '../../../firmware/load-kernel.ts';
import { MiB } from '../../../src/memory/address.ts';
import { bufferedGuestMemory } from '../../../src/memory/guest-memory.ts';
import { rsdpAddress } from '../../../src/memory/layout.ts';
import { layOutRam } from '../../../src/memory/regions.ts';
import {
  joined,
  lz4Legacy,
  payloadOffset,
  seeded,
  setupBytes,
  syntheticBzImage,
  syntheticElf,
  threeSegments,
  u32,
} from './synthetic-kernels.ts';

/** Numbers at which arithmetic goes wrong. */
const edges = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x10_0000, 0x20_0000, 0xc000_0000];

type Random = ReturnType<typeof seeded>;

/** `file` with a few bytes or words changed within [0, reach), or cut short. */
function mutate(file: Uint8Array, random: Random, reach: number): Uint8Array {
  const changed = new Uint8Array(file);
  const view = new DataView(changed.buffer);
  for (let hit = 0; hit <= random.below(5); hit++) {
    const limit = Math.min(reach, changed.length);
    const offset = random.below(limit - 8);
    const edge = edges[random.below(edges.length)] ?? 0;
    const kinds = [
      () => view.setUint8(offset, random.below(256)),
      () => view.setUint32(offset, edge, true),
      () => view.setUint32(offset, random.below(2 ** 24), true),
      () => view.setBigUint64(offset - (offset % 8), BigInt(edge) << BigInt(8 * random.below(5)), true),
      () => changed.fill(edge, offset, Math.min(limit, offset + random.below(64))),
    ];
    kinds[random.below(kinds.length)]?.();
  }
  return random.below(6) === 0 ? changed.subarray(0, random.below(changed.length)) : changed;
}

const relocations = joined(...[0, 0x8020_4010, 0, 0x8020_6220, 0, 0x8020_0010].map(u32));
const elf = joined(syntheticElf(threeSegments()), relocations);
const pvh = syntheticElf({ ...threeSegments(), pvhEntry: 0x20_0850 });
const image = (vmlinux: Uint8Array) => syntheticBzImage({ vmlinux });
const whole = image(elf);
const frame = lz4Legacy(elf);
const zipped = gzipSync(elf);

/** Each makes one file out of a seed. */
const makers: Readonly<Record<string, (random: Random) => Uint8Array>> = {
  'a bzImage with a damaged header': (random) => mutate(whole, random, 0x270),
  'a bzImage with damage anywhere': (random) => mutate(whole, random, setupBytes + payloadOffset + 9000),
  'a bzImage whose LZ4 frame is damaged': (random) => {
    const damaged = joined(frame.subarray(0, 8), mutate(frame.subarray(8), random, frame.length), u32(elf.length));
    return syntheticBzImage({ vmlinux: elf, compress: () => damaged });
  },
  'a bzImage whose gzip data is damaged': (random) =>
    syntheticBzImage({ vmlinux: elf, compress: () => mutate(zipped, random, zipped.length) }),
  'a bzImage around a damaged ELF file': (random) => image(mutate(elf, random, 0x200)),
  'a bzImage with damaged relocations': (random) =>
    image(joined(syntheticElf(threeSegments()), mutate(relocations, random, relocations.length))),
  'an ELF file with damaged headers': (random) => mutate(pvh, random, 0x200),
  'an ELF file with a damaged note': (random) =>
    joined(pvh.subarray(0, 0x400), mutate(pvh.subarray(0x400), random, 64)),
  'noise behind a magic number': (random) => {
    const magics = [[0x7f, 0x45, 0x4c, 0x46, 2, 1], [0x1f, 0x8b, 8], [0x4d, 0x5a, 0, 0, 0x7a, 0x69, 0x6d, 0x67], []];
    return joined(Uint8Array.from(magics[random.below(magics.length)] ?? []), random.bytes(random.below(1200)));
  },
};

const rounds = 500;

// One memory for all rounds: the loader must not depend on what is in it.
const memory = bufferedGuestMemory(layOutRam(8 * MiB));

for (const [what, make] of Object.entries(makers)) {
  t.test(`${what} is loaded or refused by name`, async (t) => {
    const outcomes = new Map<string, number>();
    const count = (outcome: string): unknown => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    for (let seed = 0; seed < rounds; seed++) {
      const random = seeded(seed);
      const bytes = make(random);
      const initrd = random.below(2) === 0 ? undefined : { name: 'initrd', bytes: random.bytes(random.below(100)) };
      try {
        const kernel = { name: 'vmlinuz', bytes };
        const options = { commandLine: 'quiet', rsdp: rsdpAddress, kaslr: (slots: number) => slots - 1 };
        count(loadKernel(memory, { kernel, initrd, ...options }).protocol);
      } catch (error) {
        if (!(error instanceof KernelImageError)) {
          t.fail(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
          return;
        }
        if (error.message.includes('\n') || /NaN|undefined|Infinity/.test(error.message)) t.fail(error.message);
        count(error.code);
      }
    }
    const refused = rounds - (outcomes.get('linux64') ?? 0) - (outcomes.get('pvh') ?? 0);
    t.ok(refused > 0, [...outcomes].map(([name, times]) => `${name} ${times}`).join(', '));
  });
}
