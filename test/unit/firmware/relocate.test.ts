import t from 'tap';
import { KernelImageError } from '../../../firmware/kernel-image-error.ts';
import { loadKernel } from '../../../firmware/load-kernel.ts';
import { parseRelocations, virtualSlots } from '../../../firmware/relocate.ts';
import { GiB, gpa, MiB } from '../../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../../src/memory/guest-memory.ts';
import { rsdpAddress, zeroPageAddress } from '../../../src/memory/layout.ts';
import { layOutRam } from '../../../src/memory/regions.ts';
import { joined, syntheticBzImage, syntheticElf, threeSegments, u32 } from './synthetic-kernels.ts';

const kernelMap = 0x8000_0000;
const KASLR_FLAG = 2;
const slot = 5;
const delta = slot * 2 * MiB;

/** A kernel whose word at `address` is `value`, and the relocations that follow its ELF file. */
function relocatable(words: readonly (readonly [address: number, value: bigint])[], relocations: readonly number[]) {
  const { segments } = threeSegments();
  for (const [address, value] of words) {
    const segment = segments.find((one) => address >= one.address && address < one.address + one.bytes.length);
    if (segment === undefined) throw new Error('no such segment');
    const view = new DataView(segment.bytes.buffer, segment.bytes.byteOffset);
    view.setBigUint64(address - segment.address, value, true);
  }
  return syntheticBzImage({ vmlinux: joined(syntheticElf({ segments }), ...relocations.map(u32)) });
}

function load(kernel: Uint8Array, { commandLine = '', slots = (_: number): number => slot } = {}) {
  const memory = bufferedGuestMemory(layOutRam(8 * MiB));
  const options = { commandLine, rsdp: rsdpAddress, unpack: 'host', kaslr: slots } as const;
  const entry = loadKernel(memory, { kernel: { name: 'vmlinuz', bytes: kernel }, ...options });
  return { memory, entry };
}

function flagged(memory: GuestMemory): boolean {
  return (memory.readU8(gpa(zeroPageAddress + 0x211)) & KASLR_FLAG) !== 0;
}

t.test('every listed word moves by the chosen distance, and the kernel is told', async (t) => {
  const [up32, down32, up64, carry] = [0x20_0010, 0x20_4020, 0x20_6230, 0x20_0100];
  const words = [
    [up32, 0xaaaa_aaaa_8100_0000n],
    [down32, 0xbbbb_bbbb_7f00_0000n],
    [up64, 0xffff_ffff_8123_4567n],
    [carry, 0x0000_0001_ffff_fff0n],
  ] as const;
  const at = (address: number) => kernelMap + address;
  const kernel = relocatable(words, [0, at(up64), at(carry), 0, at(down32), 0, at(up32)]);
  const { memory, entry } = load(kernel);
  t.match(entry, { randomised: true, entry: 0x20_0000 });
  t.equal(flagged(memory), true);
  t.equal(memory.readU64(gpa(up32)), 0xaaaa_aaaa_8100_0000n + BigInt(delta));
  t.equal(memory.readU64(gpa(down32)), 0xbbbb_bbbb_7f00_0000n - BigInt(delta));
  t.equal(memory.readU64(gpa(up64)), 0xffff_ffff_8123_4567n + BigInt(delta));
  t.equal(memory.readU64(gpa(carry)), 0x0000_0001_ffff_fff0n + BigInt(delta));
});

t.test('the two lists of newer kernels are 64-bit and 32-bit words', async (t) => {
  const words = [
    [0x20_0010, 0x8100_0000n],
    [0x20_4020, 0xffff_ffff_8100_0000n],
  ] as const;
  const { memory } = load(relocatable(words, [0, kernelMap + 0x20_4020, 0, kernelMap + 0x20_0010]));
  t.equal(memory.readU64(gpa(0x20_0010)), 0x8100_0000n + BigInt(delta));
  t.equal(memory.readU64(gpa(0x20_4020)), 0xffff_ffff_8100_0000n + BigInt(delta));
});

t.test('the kernel stays where it was linked for', async (t) => {
  const words = [[0x20_0010, 0x8100_0000n]] as const;
  const relocations = [0, 0, kernelMap + 0x20_0010];
  const stays = (what: string, kernel: Uint8Array, options: Parameters<typeof load>[1] = {}): void => {
    const { memory, entry } = load(kernel, options);
    t.match(entry, { randomised: false }, what);
    t.equal(flagged(memory), false, what);
    t.equal(memory.readU64(gpa(0x20_0010)), 0x8100_0000n, what);
  };
  stays('with nokaslr', relocatable(words, relocations), { commandLine: 'quiet nokaslr' });
  stays('without relocations', relocatable(words, []));
  stays('with something else behind its ELF file', relocatable(words, [1, 2, 3]));
  stays('with lists of a kind not known', relocatable(words, [0, 0, 0, 0, 0]));
});

t.test('refuses a relocation outside the kernel', async (t) => {
  for (const address of [1, kernelMap, kernelMap + 0x1f_ffff, kernelMap + 0x20_b1fd, 0xffff_ffff]) {
    t.throws(() => load(relocatable([], [0, 0, address])), KernelImageError, `0x${address.toString(16)}`);
  }
});

t.test('the window of 1 GiB has a slot for every 2 MiB that the kernel leaves free', async (t) => {
  t.equal(virtualSlots(gpa(16 * MiB), 54 * MiB, 2 * MiB), (1024 - 16 - 54) / 2 + 1);
  t.equal(virtualSlots(gpa(16 * MiB), GiB, 2 * MiB), 1, 'none for a kernel that fills it');
  const asked: number[] = [];
  load(relocatable([], [0, 0, 0]).slice(), { slots: (count) => asked.push(count) - 1 });
  t.same(asked, [(1024 - 2) / 2], 'init_size 1 MiB at 2 MiB leaves all but two');
});

t.test('reads the lists from behind, whatever precedes them', async (t) => {
  t.equal(parseRelocations(new Uint8Array(0)), undefined);
  t.equal(parseRelocations(new Uint8Array(5)), undefined);
  t.same(parseRelocations(joined(u32(0), u32(7), u32(0), u32(8), u32(9)))?.raise32, Uint32Array.of(8, 9));
});
