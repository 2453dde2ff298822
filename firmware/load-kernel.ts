import { type Gpa, gpa } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { highMemoryStart } from '../src/memory/layout.ts';
import { writeBootParams } from './boot-params.ts';
import { type BzImage, entry64, isBzImage, parseBzImage } from './bzimage.ts';
import { hasOption, writeCommandLine } from './command-line.ts';
import { e820Map } from './e820.ts';
import { checkElfFits, copySegments, isElf, parseElf, pvhEntry } from './elf.ts';
import { code32, code64, writeGdt } from './gdt.ts';
import { notAKernel } from './identify-kernel.ts';
import { writeInitrd } from './initrd.ts';
import { KernelImageError } from './kernel-image-error.ts';
import { tooLarge } from './kernel-room.ts';
import type { NamedFile } from './named-file.ts';
import { writePageTables } from './page-tables.ts';
import { writeStartInfo } from './pvh.ts';
import { compressionOf, type SlotChooser, type UnpackedKernel, unpackKernel } from './unpack-kernel.ts';

export interface LoadKernelOptions {
  readonly kernel: NamedFile;
  readonly initrd?: NamedFile | undefined;
  /** Without its NUL. */
  readonly commandLine: string;
  /** Where the ACPI root pointer lies. */
  readonly rsdp: Gpa;
  /** Who unpacks a bzImage: this process, the kernel's own decompressor, or (the default) the former if it can. */
  readonly unpack?: 'host' | 'guest' | 'auto';
  /**
   * Chooses where a kernel unpacked here runs in its virtual address space (KASLR). Absent, or with `nokaslr` on the
   * command line: where it was linked for. The kernel's own decompressor chooses for itself; absent, `nokaslr` is added to the
   * command line for it.
   */
  readonly kaslr?: SlotChooser | undefined;
}

/** How the first vCPU enters what was loaded. */
export type BootEntry =
  | {
      readonly protocol: 'linux64';
      readonly entry: Gpa;
      readonly zeroPage: Gpa;
      readonly unpackedBy: 'host' | 'guest';
      /** It runs at a virtual address chosen by {@link LoadKernelOptions.kaslr}. */
      readonly randomised: boolean;
    }
  | { readonly protocol: 'pvh'; readonly entry: Gpa; readonly startInfo: Gpa };

/** Longest command line of an x86 kernel without a header that says so: COMMAND_LINE_SIZE - 1. */
const commandLineBytesOfElf = 2047;

/**
 * Loads a kernel, its initrd and its command line, with all it expects to find besides: zero page or start info,
 * GDT and page tables. Throws {@link KernelImageError}, and nothing else, for whatever is wrong with the files.
 */
export function loadKernel(memory: GuestMemory, options: LoadKernelOptions): BootEntry {
  const { kernel } = options;
  if (isBzImage(kernel.bytes)) return loadBzImage(memory, parseBzImage(kernel), options);
  if (isElf(kernel.bytes)) return loadElf(memory, options);
  throw notAKernel(kernel);
}

function loadBzImage(memory: GuestMemory, image: BzImage, options: LoadKernelOptions): BootEntry {
  const kernel = placeBzImage(memory, image, options);
  const text = keepsItsPlace(image, kernel, options) ? `${options.commandLine} nokaslr`.trim() : options.commandLine;
  const commandLine = writeCommandLine(memory, text, image.commandLineMaxBytes);
  const initrd = options.initrd && writeInitrd(memory, options.initrd, kernel.end, image.initrdAddrMax + 1);
  const zeroPage = writeBootParams(memory, {
    bzImage: image,
    commandLine,
    initrd,
    rsdp: options.rsdp,
    e820: e820Map(memory.regions),
    randomised: kernel.randomised,
  });
  writePageTables(memory);
  writeGdt(memory, code64);
  return {
    protocol: 'linux64',
    entry: kernel.entry,
    zeroPage,
    unpackedBy: kernel.unpackedBy,
    randomised: kernel.randomised,
  };
}

/** Whether a kernel that unpacks itself has to be told not to choose a random address. */
function keepsItsPlace(
  image: BzImage,
  { unpackedBy }: PlacedKernel,
  { kaslr, commandLine }: LoadKernelOptions,
): boolean {
  // What is not compressed is no Linux, and would take the word for one of its own.
  const unpacksItself = unpackedBy === 'guest' && compressionOf(image.payload) !== undefined;
  return unpacksItself && kaslr === undefined && !hasOption(commandLine, 'nokaslr');
}

interface PlacedKernel extends UnpackedKernel {
  readonly unpackedBy: 'host' | 'guest';
}

function placeBzImage(memory: GuestMemory, image: BzImage, options: LoadKernelOptions): PlacedKernel {
  const { unpack = 'auto', kaslr, commandLine } = options;
  if (unpack !== 'guest') {
    const unpacked = unpackKernel(memory, image, hasOption(commandLine, 'nokaslr') ? undefined : kaslr);
    if (!('reason' in unpacked)) return { ...unpacked, unpackedBy: 'host' };
    if (unpack === 'host') {
      throw new KernelImageError(
        'KERNEL_UNPACK',
        `kernel ${image.name} can only be unpacked by the guest: ${unpacked.reason}`,
      );
    }
  }
  const end = Math.max(image.runAddress + image.initSize, highMemoryStart + image.protectedModeCode.length);
  if (end > memory.lowEnd) throw tooLarge(image.name, end, memory);
  memory.write(highMemoryStart, image.protectedModeCode);
  return { entry: entry64, end: gpa(end), randomised: false, unpackedBy: 'guest' };
}

function loadElf(memory: GuestMemory, options: LoadKernelOptions): BootEntry {
  const { name, bytes } = options.kernel;
  const elf = parseElf(name, bytes, bytes.length);
  const entry = pvhEntry(elf, bytes);
  if (entry === undefined) {
    throw new KernelImageError(
      'KERNEL_WITHOUT_PVH',
      `kernel ${name} is an ELF file without a PVH entry note; give the bzImage, or a vmlinux built with CONFIG_PVH=y`,
    );
  }
  checkElfFits(elf, entry, memory);

  const commandLine = writeCommandLine(memory, options.commandLine, commandLineBytesOfElf);
  copySegments(memory, elf, bytes);
  const initrd = options.initrd && writeInitrd(memory, options.initrd, elf.end, memory.lowEnd);
  const startInfo = writeStartInfo(memory, { commandLine, initrd, rsdp: options.rsdp, e820: e820Map(memory.regions) });
  writeGdt(memory, code32);
  return { protocol: 'pvh', entry, startInfo };
}
