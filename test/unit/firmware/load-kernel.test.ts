import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { bootRegisters } from '../../../firmware/boot-registers.ts';
import { KernelImageError, type KernelImageErrorCode } from '../../../firmware/kernel-image-error.ts';
import { type LoadKernelOptions, loadKernel } from '../../../firmware/load-kernel.ts';
import { gpa, MiB } from '../../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../../src/memory/guest-memory.ts';
import { commandLineAddress, rsdpAddress, zeroPageAddress } from '../../../src/memory/layout.ts';
import { layOutRam } from '../../../src/memory/regions.ts';
import {
  joined,
  lz4Legacy,
  payloadOffset,
  type SyntheticElf,
  seeded,
  setupBytes,
  syntheticBzImage,
  syntheticElf,
  threeSegments,
  u32,
} from './synthetic-kernels.ts';

/** Memory that was in use before: what should be zero must be made so. */
function usedMemory(sizeBytes = 8 * MiB): GuestMemory {
  const memory = bufferedGuestMemory(layOutRam(sizeBytes));
  memory.writableSlice(gpa(0), sizeBytes).fill(0xcc);
  return memory;
}

function load(memory: GuestMemory, kernel: Uint8Array, options: Partial<LoadKernelOptions> = {}) {
  return loadKernel(memory, {
    kernel: { name: 'vmlinuz', bytes: kernel },
    commandLine: 'console=ttyS0',
    rsdp: rsdpAddress,
    ...options,
  });
}

function placed(t: Test, memory: GuestMemory, elf: SyntheticElf): void {
  for (const { address, bytes, memoryBytes = bytes.length } of elf.segments) {
    t.ok(Buffer.compare(memory.slice(gpa(address), bytes.length), bytes) === 0, `segment at 0x${address.toString(16)}`);
    const rest = memory.slice(gpa(address + bytes.length), memoryBytes - bytes.length);
    t.ok(
      rest.every((byte) => byte === 0),
      `zeroes behind 0x${address.toString(16)}`,
    );
  }
}

function text(memory: GuestMemory, address: number): string {
  const bytes = memory.slice(gpa(address), 4096);
  return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString('latin1');
}

t.test('a bzImage unpacked by the host', async (t) => {
  for (const [format, compress] of [
    ['LZ4', undefined],
    ['gzip', gzipSync],
  ] as const) {
    t.test(`of ${format}: its vmlinux lies where it was linked for`, async (t) => {
      const memory = usedMemory();
      const elf = { ...threeSegments(), entry: 0x20_0123 };
      const image = syntheticBzImage({ vmlinux: syntheticElf(elf), ...(compress && { compress }) });
      const entry = load(memory, image, { unpack: 'host' });
      t.match(entry, { protocol: 'linux64', entry: 0x20_0123, unpackedBy: 'host', randomised: false });
      placed(t, memory, elf);
    });
  }

  t.test('keeps segments apart that move in different directions', async (t) => {
    const random = seeded(9);
    const at = (offset: number, address: number) => ({ offset, address, bytes: random.bytes(0x800) });
    const orders = [
      [at(0x1000, 0x20_0000), at(0x1800, 0x20_1000), at(0x2000, 0x20_1800)],
      [at(0x1000, 0x20_0000), at(0x3000, 0x20_1000), at(0x3800, 0x20_3800)],
      [at(0x1000, 0x20_0000), at(0x1a00, 0x20_0900), at(0x2300, 0x20_1400), at(0x2c00, 0x20_1c80)],
    ];
    for (const segments of orders) {
      const memory = usedMemory();
      load(memory, syntheticBzImage({ vmlinux: syntheticElf({ segments }) }), { unpack: 'host' });
      placed(t, memory, { segments });
    }
  });

  t.test('leaves nothing of the file between and behind the segments', async (t) => {
    const memory = usedMemory();
    const elf = threeSegments();
    const tail = new Uint8Array(0x4001).fill(0x77);
    load(memory, syntheticBzImage({ vmlinux: joined(syntheticElf(elf), tail) }), { unpack: 'host' });
    const outside = memory.slice(gpa(0x1f_f000), 0x1000);
    t.ok(
      outside.every((byte) => byte === 0),
      'the headers before the first segment',
    );
    t.ok(
      memory.slice(gpa(0x20_3000), 0x1000).every((byte) => byte === 0),
      'between two segments',
    );
    t.ok(
      memory.slice(gpa(0x20_b200), 0x2000).every((byte) => byte === 0 || byte === 0xcc),
      'behind the last',
    );
  });

  t.test('goes to its own decompressor if the host cannot do it', async (t) => {
    const vmlinux = syntheticElf(threeSegments());
    const xz = (): Uint8Array => Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2, 3);
    const image = syntheticBzImage({ vmlinux, compress: xz });
    t.match(load(usedMemory(), image), { entry: 0x10_0200, unpackedBy: 'guest' });
    refuses(t, 'KERNEL_UNPACK', image, /vmlinuz .*guest.* xz/, { unpack: 'host' });
    const offsets = [0x1000, 0x9000, 0x6000];
    const segments = threeSegments().segments.map((segment, index) => ({ ...segment, offset: offsets[index] ?? 0 }));
    const crossed = syntheticElf({ segments });
    t.match(
      load(usedMemory(), syntheticBzImage({ vmlinux: crossed })),
      { unpackedBy: 'guest' },
      'segments out of order',
    );
  });
});

t.test('a bzImage unpacked by the guest lies at 1 MiB, entered 0x200 behind', async (t) => {
  const memory = usedMemory();
  const image = syntheticBzImage({ vmlinux: syntheticElf(threeSegments()) });
  t.match(load(memory, image, { unpack: 'guest' }), { protocol: 'linux64', entry: 0x10_0200, unpackedBy: 'guest' });
  const code = image.subarray(setupBytes);
  t.ok(Buffer.compare(memory.slice(gpa(MiB), code.length), code) === 0);
});

t.test('a kernel that unpacks itself is told to keep its place, unless it is to move', async (t) => {
  const xz = (): Uint8Array => Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2, 3);
  const vmlinux = syntheticElf(threeSegments());
  const unpacksItself = syntheticBzImage({ vmlinux, compress: xz });
  const lineOf = (image: Uint8Array, options: Partial<LoadKernelOptions> = {}): string => {
    const memory = usedMemory();
    load(memory, image, options);
    return text(memory, commandLineAddress);
  };
  t.equal(lineOf(unpacksItself), 'console=ttyS0 nokaslr');
  t.equal(lineOf(unpacksItself, { commandLine: '' }), 'nokaslr');
  t.equal(lineOf(unpacksItself, { commandLine: 'nokaslr quiet' }), 'nokaslr quiet', 'once');
  t.equal(lineOf(unpacksItself, { kaslr: () => 0 }), 'console=ttyS0', 'with KASLR it chooses');
  t.equal(lineOf(syntheticBzImage({ vmlinux })), 'console=ttyS0', 'one that is unpacked here needs no word');
  const noLinux = unpacksItself.slice();
  new DataView(noLinux.buffer).setUint32(0x24c, 0, true);
  t.equal(lineOf(noLinux), 'console=ttyS0', 'one that unpacks nothing');
});

t.test('a last paragraph that is not filled makes no kernel truncated, a payload that is cut does', async (t) => {
  const xz = (): Uint8Array => Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2, 3);
  const image = syntheticBzImage({ vmlinux: syntheticElf(threeSegments()), compress: xz });
  const noPayload = image.slice();
  new DataView(noPayload.buffer).setUint32(0x24c, 0, true);
  for (const missing of [1, 8, 15]) {
    const memory = usedMemory();
    t.match(load(memory, noPayload.subarray(0, -missing)), { unpackedBy: 'guest' }, `${missing} bytes`);
    const code = image.subarray(setupBytes, -missing);
    t.ok(Buffer.compare(memory.slice(gpa(MiB), code.length), code) === 0);
  }
  refuses(t, 'KERNEL_TRUNCATED', noPayload.subarray(0, -16), /truncated/);
  // Its nine bytes end seven before the paragraph does.
  t.match(load(usedMemory(), image.subarray(0, -7)), { unpackedBy: 'guest' });
  refuses(t, 'KERNEL_TRUNCATED', image.subarray(0, -8), /truncated/);
});

t.test('the zero page tells the kernel about its machine', async (t) => {
  const memory = usedMemory();
  const initrd = { name: 'root.cpio', bytes: seeded(3).bytes(5000) };
  const image = syntheticBzImage({ vmlinux: syntheticElf(threeSegments()) });
  const entry = load(memory, image, { initrd });
  if (entry.protocol !== 'linux64') throw new Error('not the 64-bit entry');
  t.equal(entry.zeroPage, zeroPageAddress);
  const at = (offset: number) => gpa(zeroPageAddress + offset);
  t.equal(memory.readU64(at(0x070)), BigInt(rsdpAddress), 'acpi_rsdp_addr');
  t.equal(memory.readU16(at(0x1fe)), 0xaa55, 'boot_flag');
  t.equal(memory.readU32(at(0x202)), 0x5372_6448, 'header');
  t.equal(memory.readU8(at(0x210)), 0xff, 'type_of_loader');
  t.equal(memory.readU8(at(0x211)), 0x01, 'loadflags');
  t.equal(memory.readU32(at(0x228)), commandLineAddress, 'cmd_line_ptr');
  t.equal(text(memory, commandLineAddress), 'console=ttyS0');
  t.equal(memory.readU32(at(0x230)), 0x20_0000, 'kernel_alignment, from the file');
  t.equal(memory.readU32(at(0x21c)), 5000, 'ramdisk_size');
  const address = memory.readU32(at(0x218));
  t.equal(address, 8 * MiB - 8192, 'the initrd is at the top');
  t.same(memory.slice(gpa(address), 5000), initrd.bytes);
  t.equal(memory.readU8(at(0x1ef)), 0, 'sentinel');
  t.ok(
    memory.slice(at(0), 0x70).every((byte) => byte === 0),
    'nothing of the file before the header',
  );
  t.ok(
    memory.slice(at(0x26c), 0x60).every((byte) => byte === 0),
    'nor behind it',
  );

  t.equal(memory.readU8(at(0x1e8)), 3, 'e820_entries');
  const ranges = [0, 1, 2].map((index) => {
    const base = 0x2d0 + index * 20;
    return [memory.readU64(at(base)), memory.readU64(at(base + 8)), memory.readU32(at(base + 16))];
  });
  t.same(ranges, [
    [0n, 0x9_fc00n, 1],
    [0x9_fc00n, 0x6_0400n, 2],
    [0x10_0000n, 0x70_0000n, 1],
  ]);
});

t.test('an initrd stays below what the kernel can reach', async (t) => {
  const memory = usedMemory();
  const image = syntheticBzImage({ vmlinux: syntheticElf(threeSegments()), initrdAddrMax: 6 * MiB - 1 });
  load(memory, image, { initrd: { name: 'i', bytes: new Uint8Array(4096) } });
  t.equal(memory.readU32(gpa(zeroPageAddress + 0x218)), 6 * MiB - 4096);
});

t.test('the 64-bit entry finds the identity map and the descriptors that its registers name', async (t) => {
  const memory = usedMemory();
  const entry = load(memory, syntheticBzImage({ vmlinux: syntheticElf(threeSegments()) }));
  const registers = bootRegisters(entry);
  t.match(registers, { rip: 0x20_0000, rsi: 0x7000, rflags: 2, cr0: 0x8000_0011, cr4: 0x20, efer: 0x500 });
  const pml4e = memory.readU64(gpa(registers.cr3));
  const pdpte = memory.readU64(gpa(Number(pml4e & ~0xfffn)));
  const directory = Number(pdpte & ~0xfffn);
  t.same([pml4e & 0xfffn, pdpte & 0xfffn], [3n, 3n]);
  for (const index of [0, 1, 255, 511]) {
    t.equal(memory.readU64(gpa(directory + index * 8)), BigInt(index * 2 * MiB + 0x83), `2 MiB page ${index}`);
  }
  t.equal(memory.readU64(gpa(registers.cr3 + 8)), 0n, 'and nothing else');
  t.equal(memory.readU64(gpa(registers.gdt.base + registers.cs.selector)), 0x00af_9b00_0000_ffffn, 'code');
  t.equal(memory.readU64(gpa(registers.gdt.base + registers.ds.selector)), 0x00cf_9300_0000_ffffn, 'data');
  t.equal(memory.readU64(gpa(registers.gdt.base + registers.tr.selector)), 0x0000_8b00_0000_0067n, 'TSS');
});

t.test('a vmlinux is entered by PVH', async (t) => {
  const memory = usedMemory();
  const elf = { ...threeSegments(), pvhEntry: 0x20_0850 };
  const initrd = { name: 'root.cpio', bytes: seeded(4).bytes(100) };
  const entry = load(memory, syntheticElf(elf), { initrd });
  t.match(entry, { protocol: 'pvh', entry: 0x20_0850, startInfo: 0x6000 });
  placed(t, memory, elf);
  const registers = bootRegisters(entry);
  t.match(registers, { rip: 0x20_0850, rbx: 0x6000, cr0: 0x11, cr3: 0, cr4: 0, efer: 0, cs: { db: 1, l: 0 } });
  t.equal(memory.readU64(gpa(registers.gdt.base + registers.cs.selector)), 0x00cf_9b00_0000_ffffn, '32-bit code');

  const info = registers.rbx;
  t.equal(memory.readU32(gpa(info)), 0x336e_c578, 'magic');
  t.equal(memory.readU32(gpa(info + 4)), 1, 'version');
  t.equal(text(memory, Number(memory.readU64(gpa(info + 24)))), 'console=ttyS0');
  t.equal(memory.readU64(gpa(info + 32)), BigInt(rsdpAddress));
  t.equal(memory.readU32(gpa(info + 12)), 1, 'one module');
  const module = Number(memory.readU64(gpa(info + 16)));
  t.equal(memory.readU64(gpa(module + 8)), 100n);
  t.same(memory.slice(gpa(Number(memory.readU64(gpa(module)))), 100), initrd.bytes);
  const map = Number(memory.readU64(gpa(info + 40)));
  t.equal(memory.readU32(gpa(info + 48)), 3, 'memory map entries');
  t.same([memory.readU64(gpa(map + 48)), memory.readU64(gpa(map + 56))], [0x10_0000n, 0x70_0000n]);
});

function refuses(
  t: Test,
  code: KernelImageErrorCode,
  kernel: Uint8Array,
  message: RegExp,
  options: Partial<LoadKernelOptions> = {},
  memory = usedMemory(),
): void {
  try {
    load(memory, kernel, options);
    t.fail(`${code}: it was accepted`);
  } catch (error) {
    if (!(error instanceof KernelImageError)) throw error;
    t.equal(error.code, code, error.message);
    t.match(error.message, message);
    t.notMatch(error.message, /\n/, 'one line');
  }
}

t.test('refuses what is no kernel and says what it is', async (t) => {
  const bytes = (content: string, length = content.length) => {
    const file = new Uint8Array(length);
    file.set(Buffer.from(content, 'latin1'));
    return file;
  };
  refuses(t, 'NOT_A_KERNEL', new Uint8Array(0), /vmlinuz is an empty file; give a bzImage/);
  refuses(t, 'NOT_A_KERNEL', bytes('root:x:0:0:root:/root:/bin/bash\n'), /begins with "root:x:0:0:root:"/);
  refuses(t, 'NOT_A_KERNEL', bytes('#!/bin/sh\nexit 1\n'), /begins with "#!\/bin\/sh"/);
  refuses(t, 'NOT_A_KERNEL', Uint8Array.of(0, 1, 2), /the bytes 00 01 02/);
  refuses(t, 'NOT_A_KERNEL', bytes('070701000'), /initramfs/);
  const disk = new Uint8Array(4096);
  disk.set([0x55, 0xaa], 0x1fe);
  refuses(t, 'NOT_A_KERNEL', disk, /disk image/);

  const arm64 = new Uint8Array(4096);
  arm64.set(Buffer.from('ARM\x64'), 0x38);
  refuses(t, 'WRONG_MACHINE', arm64, /Image for arm64; an x86-64 kernel is needed/);
  refuses(t, 'WRONG_MACHINE', gzipSync(joined(arm64, seeded(1).bytes(90_000))), /Image for arm64/);
  const zboot = bytes('MZ\0\0zimg', 4096);
  zboot[0x3c] = 0x80;
  zboot.set([0x50, 0x45, 0, 0, 0x64, 0xaa], 0x80);
  refuses(t, 'WRONG_MACHINE', zboot, /Image for arm64/);

  refuses(t, 'COMPRESSED_KERNEL', gzipSync(syntheticElf(threeSegments())), /compressed with gzip; unpack it first/);
  refuses(t, 'COMPRESSED_KERNEL', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0), /zstd/);
});

t.test('refuses a bzImage that is cut short, too old, or for 32 bits', async (t) => {
  const vmlinux = syntheticElf(threeSegments());
  const whole = syntheticBzImage({ vmlinux });
  for (const length of [0x206, 0x250, 0x264, 1000, setupBytes + 10, whole.length - 16]) {
    refuses(t, 'KERNEL_TRUNCATED', whole.subarray(0, length), new RegExp(`has ${length} bytes .* copy the file again`));
  }
  const longPayload = whole.slice();
  new DataView(longPayload.buffer).setUint32(0x24c, whole.length, true);
  refuses(t, 'KERNEL_TRUNCATED', longPayload, /truncated/);
  refuses(t, 'KERNEL_TOO_OLD', syntheticBzImage({ vmlinux, version: 0x0209 }), /protocol 2\.9, .*Linux 3\.8/);
  refuses(t, 'KERNEL_NOT_64_BIT', syntheticBzImage({ vmlinux, xloadflags: 0 }), /32-bit kernel/);
});

t.test('refuses a bzImage whose payload is damaged', async (t) => {
  const vmlinux = syntheticElf(threeSegments());
  const damaged = syntheticBzImage({ vmlinux });
  damaged.fill(0xff, setupBytes + payloadOffset + 4, setupBytes + payloadOffset + 8);
  refuses(t, 'KERNEL_CORRUPT', damaged, /damaged: .* of the LZ4 data; copy the file again/);
  const zipped = syntheticBzImage({ vmlinux, compress: gzipSync });
  zipped.fill(0xff, setupBytes + payloadOffset + 0x400, setupBytes + payloadOffset + 0x600);
  refuses(t, 'KERNEL_CORRUPT', zipped, /gzip data is bad/);
  const wrongSize = syntheticBzImage({
    vmlinux,
    compress: (bytes) => joined(lz4Legacy(bytes), u32(bytes.length + 4)),
  });
  refuses(t, 'KERNEL_CORRUPT', wrongSize, /unpacks to \d+ bytes, not \d+/);
  refuses(t, 'KERNEL_CORRUPT', syntheticBzImage({ vmlinux: seeded(1).bytes(9000) }), /no ELF file/);
  for (const bytes of [2, 3]) {
    const short = syntheticBzImage({ vmlinux, compress: (whole) => gzipSync(whole).subarray(0, bytes) });
    refuses(t, 'KERNEL_CORRUPT', short, new RegExp(`damaged: its payload has ${bytes} bytes; copy the file again`));
  }
});

t.test('refuses an ELF file that is for another machine, without PVH, or badly laid out', async (t) => {
  const [first, second] = threeSegments().segments;
  if (first === undefined || second === undefined) throw new Error('three segments');
  const pvhEntry = 0x20_0000;
  const elf = (change: Partial<SyntheticElf>) => syntheticElf({ ...threeSegments(), pvhEntry, ...change });
  refuses(t, 'WRONG_MACHINE', elf({ machine: 183 }), /ELF file for arm64/);
  refuses(t, 'WRONG_MACHINE', elf({ machine: 4711 }), /machine number 4711/);
  refuses(t, 'WRONG_MACHINE', elf({ machine: 3, elfClass: 1 }), /32-bit x86/);
  refuses(t, 'KERNEL_NOT_64_BIT', elf({ elfClass: 1 }), /32-bit ELF/);
  refuses(t, 'KERNEL_WITHOUT_PVH', syntheticElf(threeSegments()), /CONFIG_PVH/);
  refuses(t, 'KERNEL_TRUNCATED', elf({}).subarray(0, 0x7000), /segment 1 lies beyond the end/);
  refuses(t, 'KERNEL_TRUNCATED', elf({}).subarray(0, 80), /program headers/);
  refuses(t, 'KERNEL_TRUNCATED', elf({}).subarray(0, 20), /ELF header/);
  refuses(t, 'KERNEL_LAYOUT', elf({ segments: [] }), /nothing to load/);
  refuses(t, 'KERNEL_LAYOUT', elf({ segments: [{ ...first, address: 0x8000 }] }), /below 1 MiB/);
  refuses(t, 'KERNEL_LAYOUT', elf({ segments: [first, { ...second, address: 0x20_1000 }] }), /share the address/);
  refuses(t, 'KERNEL_LAYOUT', elf({ segments: [first, { ...second, memoryBytes: 1 }] }), /longer in the file/);
  refuses(t, 'KERNEL_LAYOUT', elf({ pvhEntry: 0x10 }), /entry point 0x10 lies outside/);
  refuses(t, 'KERNEL_LAYOUT', elf({ segments: [{ ...first, address: 2 ** 40 }] }), /no machine has RAM/);
});

t.test('refuses what does not fit, and says what would', async (t) => {
  const vmlinux = syntheticElf(threeSegments());
  const image = syntheticBzImage({ vmlinux, initSize: 9 * MiB });
  refuses(t, 'KERNEL_TOO_LARGE', image, /fit into 8 MiB .* at least 11 MiB/, { unpack: 'guest' });
  const large = {
    segments: [{ offset: 0x1000, address: 0x20_0000, bytes: new Uint8Array(64), memoryBytes: 30 * MiB }],
  };
  refuses(t, 'KERNEL_TOO_LARGE', syntheticBzImage({ vmlinux: syntheticElf(large) }), /at least 32 MiB/);
  refuses(t, 'KERNEL_TOO_LARGE', syntheticElf({ ...large, pvhEntry: 0x20_0000 }), /at least 32 MiB/);

  const kernel = syntheticBzImage({ vmlinux });
  const initrd = (length: number) => ({ initrd: { name: 'root.cpio', bytes: new Uint8Array(length) } });
  refuses(t, 'INITRD_EMPTY', kernel, /initrd root\.cpio is empty/, initrd(0));
  refuses(
    t,
    'INITRD_TOO_LARGE',
    kernel,
    /root\.cpio of 7 MiB .* ends at 3 MiB; .* 8 MiB .* at least 10 MiB/,
    initrd(7 * MiB),
  );
  const near = syntheticBzImage({ vmlinux, initrdAddrMax: 3 * MiB - 1 });
  refuses(t, 'INITRD_TOO_LARGE', near, /wants it below 3 MiB/, initrd(2 * MiB));
});

t.test('what a message says would do does', async (t) => {
  const kernel = syntheticBzImage({ vmlinux: syntheticElf(threeSegments()) });
  load(usedMemory(10 * MiB), kernel, { initrd: { name: 'root.cpio', bytes: new Uint8Array(7 * MiB) } });
  const large = syntheticBzImage({ vmlinux: syntheticElf(threeSegments()), initSize: 9 * MiB });
  t.match(load(usedMemory(11 * MiB), large, { unpack: 'guest' }), { unpackedBy: 'guest' });
});

t.test('refuses a command line that the kernel would not read whole', async (t) => {
  const vmlinux = syntheticElf(threeSegments());
  const image = syntheticBzImage({ vmlinux, commandLineMaxBytes: 100 });
  t.doesNotThrow(() => load(usedMemory(), image, { commandLine: 'x'.repeat(100) }));
  const line = (commandLine: string) => ({ commandLine });
  refuses(t, 'COMMAND_LINE_TOO_LONG', image, /has 101 characters; .* at most 100/, line('x'.repeat(101)));
  refuses(
    t,
    'COMMAND_LINE_TOO_LONG',
    syntheticElf({ ...threeSegments(), pvhEntry: 0x20_0000 }),
    /2047/,
    line('x'.repeat(2048)),
  );
  refuses(t, 'COMMAND_LINE_CHARACTER', image, /U\+0000 at position 2;/, line('a\0b'));
  refuses(t, 'COMMAND_LINE_CHARACTER', image, /U\+00E9/, line('é'));
  refuses(t, 'COMMAND_LINE_CHARACTER', image, /U\+000A/, line('a\nb'));
});
