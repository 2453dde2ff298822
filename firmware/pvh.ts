import { type Gpa, gpa } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { pvhStartInfoAddress, zeroPageAddress } from '../src/memory/layout.ts';
import type { E820Entry } from './e820.ts';
import { fieldsOf } from './fields.ts';

/** struct hvm_start_info, version 1 (Xen docs/misc/pvh, public/arch-x86/hvm/start_info.h; bytes). */
export const startInfoLayout = {
  magic: [0, 4],
  version: [4, 4],
  flags: [8, 4],
  nr_modules: [12, 4],
  modlist_paddr: [16, 8],
  cmdline_paddr: [24, 8],
  rsdp_paddr: [32, 8],
  memmap_paddr: [40, 8],
  memmap_entries: [48, 4],
} as const;
const startInfoBytes = 56;
/** "xEn3" with the top bit of the E set. */
export const startInfoMagic = 0x336e_c578;

/** struct hvm_modlist_entry. Module 0 is the initrd. */
const moduleLayout = { paddr: [0, 8], size: [8, 8], cmdline_paddr: [16, 8] } as const;
const moduleBytes = 32;
/** struct hvm_memmap_table_entry: types as in the e820 map. */
const memmapLayout = { addr: [0, 8], size: [8, 8], type: [16, 4] } as const;
const memmapBytes = 24;

const moduleListAddress = gpa(pvhStartInfoAddress + 64);
/** No zero page in a PVH boot: its page holds the memory map. */
const memmapAddress = zeroPageAddress;

export interface StartInfo {
  readonly commandLine: Gpa;
  readonly initrd: { readonly address: Gpa; readonly sizeBytes: number } | undefined;
  readonly rsdp: Gpa;
  readonly e820: readonly E820Entry[];
}

/** Writes what a PVH kernel finds through EBX: start info, module list, memory map. */
export function writeStartInfo(memory: GuestMemory, info: StartInfo): Gpa {
  if (info.initrd !== undefined) {
    const module = fieldsOf(moduleLayout, new Uint8Array(moduleBytes));
    module.set('paddr', info.initrd.address);
    module.set('size', info.initrd.sizeBytes);
    memory.write(moduleListAddress, module.bytes);
  }

  const memmap = new Uint8Array(info.e820.length * memmapBytes);
  info.e820.forEach((range, index) => {
    const entry = fieldsOf(memmapLayout, memmap.subarray(index * memmapBytes));
    entry.set('addr', range.address);
    entry.set('size', range.sizeBytes);
    entry.set('type', range.type);
  });
  memory.write(memmapAddress, memmap);

  const start = fieldsOf(startInfoLayout, new Uint8Array(startInfoBytes));
  start.set('magic', startInfoMagic);
  start.set('version', 1);
  start.set('nr_modules', info.initrd === undefined ? 0 : 1);
  start.set('modlist_paddr', info.initrd === undefined ? 0 : moduleListAddress);
  start.set('cmdline_paddr', info.commandLine);
  start.set('rsdp_paddr', info.rsdp);
  start.set('memmap_paddr', memmapAddress);
  start.set('memmap_entries', info.e820.length);
  memory.write(pvhStartInfoAddress, start.bytes);
  return pvhStartInfoAddress;
}
