import type { Gpa } from '../src/memory/address.ts';
import { pageSize } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { zeroPageAddress } from '../src/memory/layout.ts';
import type { BzImage } from './bzimage.ts';
import { type E820Entry, e820Max } from './e820.ts';
import { fieldsOf } from './fields.ts';

/**
 * struct boot_params, the "zero page" that tells a kernel what its boot loader knows
 * (Linux Documentation/arch/x86/zero-page.rst; bytes). The setup_header at 0x1f1 has the offsets it has in the file.
 */
export const bootParamsLayout = {
  acpi_rsdp_addr: [0x070, 8],
  ext_ramdisk_image: [0x0c0, 4],
  ext_ramdisk_size: [0x0c4, 4],
  ext_cmd_line_ptr: [0x0c8, 4],
  e820_entries: [0x1e8, 1],
  sentinel: [0x1ef, 1],
  vid_mode: [0x1fa, 2],
  type_of_loader: [0x210, 1],
  loadflags: [0x211, 1],
  ramdisk_image: [0x218, 4],
  ramdisk_size: [0x21c, 4],
  cmd_line_ptr: [0x228, 4],
  setup_data: [0x250, 8],
} as const;

const setupHeaderStart = 0x1f1;
/** Behind the last byte a setup_header may take before the next field of boot_params. */
const setupHeaderLimit = 0x290;
const e820TableStart = 0x2d0;
const e820EntryBytes = 20;

/** loadflags: the protected-mode code is at 1 MiB, not at 64 KiB. */
const LOADED_HIGH = 1 << 0;
/** loadflags: whoever unpacked the kernel moved it, so it may randomise its memory map too. */
const KASLR_FLAG = 1 << 1;
/** vid_mode: what the BIOS left, "normal". */
const vidModeNormal = 0xffff;
/** type_of_loader: a loader without an assigned number. */
const loaderUndefined = 0xff;

export interface BootParams {
  readonly bzImage: BzImage;
  readonly commandLine: Gpa;
  readonly initrd: { readonly address: Gpa; readonly sizeBytes: number } | undefined;
  readonly rsdp: Gpa;
  readonly e820: readonly E820Entry[];
  /** The kernel was moved to a random virtual address. */
  readonly randomised: boolean;
}

/** Writes the zero page for a kernel with a setup header. */
export function writeBootParams(memory: GuestMemory, params: BootParams): Gpa {
  const page = new Uint8Array(pageSize);
  const { file, setupHeaderEnd } = params.bzImage;
  // Only the header is copied: stale bytes of the file in the rest would read as fields (protocol, "sentinel").
  page.set(file.subarray(setupHeaderStart, Math.min(setupHeaderEnd, setupHeaderLimit)), setupHeaderStart);

  const fields = fieldsOf(bootParamsLayout, page);
  fields.set('vid_mode', vidModeNormal);
  fields.set('type_of_loader', loaderUndefined);
  fields.set('loadflags', (fields.get('loadflags') & ~KASLR_FLAG) | LOADED_HIGH | (params.randomised ? KASLR_FLAG : 0));
  fields.set('cmd_line_ptr', params.commandLine);
  fields.set('ramdisk_image', params.initrd?.address ?? 0);
  fields.set('ramdisk_size', params.initrd?.sizeBytes ?? 0);
  fields.set('setup_data', 0);
  fields.set('acpi_rsdp_addr', params.rsdp);

  if (params.e820.length > e820Max) throw new RangeError(`${params.e820.length} e820 entries, ${e820Max} fit`);
  fields.set('e820_entries', params.e820.length);
  params.e820.forEach((entry, index) => {
    const view = new DataView(page.buffer, e820TableStart + index * e820EntryBytes, e820EntryBytes);
    view.setBigUint64(0, BigInt(entry.address), true);
    view.setBigUint64(8, BigInt(entry.sizeBytes), true);
    view.setUint32(16, entry.type, true);
  });

  memory.write(zeroPageAddress, page);
  return zeroPageAddress;
}
