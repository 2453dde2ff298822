import { alignUp, type Gpa, gpa } from '../src/memory/address.ts';
import { highMemoryStart } from '../src/memory/layout.ts';
import { fieldsOf } from './fields.ts';
import { KernelImageError } from './kernel-image-error.ts';
import type { NamedFile } from './named-file.ts';

/**
 * struct setup_header as it lies in the file (Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header";
 * offsets in bytes from the start of the file).
 *
 *     | boot sector and setup, (setup_sects + 1) * 512 | protected-mode code, syssize * 16 | signature, if any |
 *                                                        | decompressor | payload | ...    |
 */
export const setupHeaderLayout = {
  setup_sects: [0x1f1, 1],
  syssize: [0x1f4, 4],
  boot_flag: [0x1fe, 2],
  jump_length: [0x201, 1],
  header: [0x202, 4],
  version: [0x206, 2],
  initrd_addr_max: [0x22c, 4],
  kernel_alignment: [0x230, 4],
  relocatable_kernel: [0x234, 1],
  xloadflags: [0x236, 2],
  cmdline_size: [0x238, 4],
  payload_offset: [0x248, 4],
  payload_length: [0x24c, 4],
  pref_address: [0x258, 8],
  init_size: [0x260, 4],
} as const;

/** Behind the last field above. */
const headerBytes = 0x264;
const bootFlag = 0xaa55;
/** "HdrS". */
const headerMagic = 0x5372_6448;
/** xloadflags exists, and with it the 64-bit entry, from this protocol version on (Linux 3.8). */
const oldestVersion = 0x020c;
const XLF_KERNEL_64 = 1 << 0;
/** The 64-bit entry point lies here in the protected-mode code. */
const entry64Offset = 0x200;
const sectorBytes = 512;
const paragraphBytes = 16;

/** A bzImage with a 64-bit entry, its header checked against the file. */
export interface BzImage {
  readonly name: string;
  readonly file: Uint8Array;
  /** File offset behind the setup header. */
  readonly setupHeaderEnd: number;
  /** The code to load at 1 MiB: decompressor and payload. */
  readonly protectedModeCode: Uint8Array;
  /** The compressed vmlinux; its last four bytes say how long it is unpacked (gzip's own do, others get them added). */
  readonly payload: Uint8Array;
  /** Where the decompressor puts the kernel, unless it randomises; also the lowest address it may run at. */
  readonly runAddress: Gpa;
  /** Memory that the decompressor and the kernel need from {@link runAddress}, in bytes. */
  readonly initSize: number;
  readonly kernelAlignment: number;
  /** Last byte that the initrd may take. */
  readonly initrdAddrMax: Gpa;
  /** Longest command line, without its NUL. */
  readonly commandLineMaxBytes: number;
}

/** True for anything that has the header of a Linux boot image, however old or damaged. */
export function isBzImage(bytes: Uint8Array): boolean {
  if (bytes.length < setupHeaderLayout.version[0]) return false;
  const header = fieldsOf(setupHeaderLayout, bytes);
  return header.get('boot_flag') === bootFlag && header.get('header') === headerMagic;
}

/** Reads the header and checks that the file is as long as it says. */
export function parseBzImage({ name, bytes: file }: NamedFile): BzImage {
  if (file.length < headerBytes) throw truncated(name, file.length, headerBytes);
  const header = fieldsOf(setupHeaderLayout, file);

  const version = header.get('version');
  if (version < oldestVersion) {
    throw new KernelImageError(
      'KERNEL_TOO_OLD',
      `kernel ${name} speaks boot protocol ${version >> 8}.${version & 0xff}, which has no 64-bit entry; ` +
        `a 64-bit kernel of Linux 3.8 or newer is needed`,
    );
  }
  if ((header.get('xloadflags') & XLF_KERNEL_64) === 0) {
    throw new KernelImageError(
      'KERNEL_NOT_64_BIT',
      `kernel ${name} has no 64-bit entry (XLF_KERNEL_64): it is a 32-bit kernel; an x86-64 kernel is needed`,
    );
  }

  const codeStart = ((header.get('setup_sects') || 4) + 1) * sectorBytes;
  const codeEnd = codeStart + header.get('syssize') * paragraphBytes;
  const payloadStart = codeStart + header.get('payload_offset');
  const payloadEnd = payloadStart + header.get('payload_length');
  // The size is rounded up to paragraphs, and not every linker fills the last one.
  const wholeBytes = Math.max(codeEnd - (paragraphBytes - 1), payloadEnd);
  if (file.length < wholeBytes) throw truncated(name, file.length, Math.max(codeEnd, payloadEnd));
  if (codeEnd < codeStart + entry64Offset) {
    throw new KernelImageError('KERNEL_CORRUPT', `kernel ${name} is damaged: its header says it has no code (syssize)`);
  }

  const kernelAlignment = header.get('kernel_alignment') || 1;
  const preferred = header.get('pref_address');
  const relocatable = header.get('relocatable_kernel') !== 0;
  return {
    name,
    file,
    setupHeaderEnd: setupHeaderLayout.header[0] + header.get('jump_length'),
    protectedModeCode: file.subarray(codeStart, Math.max(codeEnd, payloadEnd)),
    payload: file.subarray(payloadStart, payloadEnd),
    runAddress: gpa(relocatable ? Math.max(alignUp(highMemoryStart, kernelAlignment), preferred) : preferred),
    initSize: header.get('init_size'),
    kernelAlignment,
    initrdAddrMax: gpa(header.get('initrd_addr_max')),
    commandLineMaxBytes: header.get('cmdline_size'),
  };
}

/** Where a bzImage loaded at 1 MiB is entered in long mode. */
export const entry64 = gpa(highMemoryStart + entry64Offset);

function truncated(name: string, has: number, needs: number): KernelImageError {
  return new KernelImageError(
    'KERNEL_TRUNCATED',
    `kernel ${name} is truncated: it has ${has} bytes and its header asks for ${needs}; copy the file again`,
  );
}
