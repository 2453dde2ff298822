import { type Gpa, gpa, KiB } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { highMemoryStart } from '../src/memory/layout.ts';
import { fieldsOf } from './fields.ts';
import { KernelImageError } from './kernel-image-error.ts';
import { tooLarge } from './kernel-room.ts';

/** Elf64_Ehdr (System V ABI, chapter 4; bytes). */
const headerLayout = {
  e_magic: [0, 4],
  ei_class: [4, 1],
  ei_data: [5, 1],
  e_machine: [18, 2],
  e_entry: [24, 8],
  e_phoff: [32, 8],
  e_shoff: [40, 8],
  e_phentsize: [54, 2],
  e_phnum: [56, 2],
  e_shentsize: [58, 2],
  e_shnum: [60, 2],
} as const;
const headerBytes = 64;

/** Elf64_Phdr. */
const programHeaderLayout = {
  p_type: [0, 4],
  p_offset: [8, 8],
  p_paddr: [24, 8],
  p_filesz: [32, 8],
  p_memsz: [40, 8],
  p_align: [48, 8],
} as const;
const programHeaderBytes = 56;

/** 0x7f "ELF". */
const elfMagic = 0x464c_457f;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;

const machineNames: Readonly<Record<number, string>> = {
  3: '32-bit x86',
  8: 'MIPS',
  20: 'PowerPC',
  21: '64-bit PowerPC',
  22: 'S/390',
  40: '32-bit Arm',
  183: 'arm64',
  243: 'RISC-V',
  258: 'LoongArch',
};

/** Bytes from the file that belong at a physical address; what the file does not fill is zero. */
export interface Segment {
  readonly offset: number;
  readonly address: Gpa;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

/** An x86-64 vmlinux. */
export interface Elf {
  readonly name: string;
  readonly entry: Gpa;
  /** PT_LOAD segments by file offset; never empty. */
  readonly segments: readonly [Segment, ...Segment[]];
  /** PT_NOTE segments as they lie in the file. */
  readonly notes: readonly { readonly offset: number; readonly sizeBytes: number; readonly alignment: number }[];
  /** Lowest address of a segment, and the first byte behind the highest. */
  readonly start: Gpa;
  readonly end: Gpa;
  /** Behind the last byte that headers or segments speak of: a bzImage's relocations follow there. */
  readonly fileEnd: number;
}

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && fieldsOf(headerLayout, bytes).get('e_magic') === elfMagic;
}

/**
 * Reads the headers of an ELF file of `fileBytes` bytes, of which `head` is the beginning, and checks that its
 * segments lie in the file, above the boot structures and apart from each other.
 */
export function parseElf(name: string, head: Uint8Array, fileBytes: number): Elf {
  if (head.length < headerBytes) throw outsideFile(name, 'ELF header');
  const header = fieldsOf(headerLayout, head);
  const machine = header.get('e_machine');
  if (machine !== EM_X86_64) {
    throw new KernelImageError(
      'WRONG_MACHINE',
      `kernel ${name} is an ELF file for ${machineNames[machine] ?? `machine number ${machine}`}; an x86-64 kernel is needed`,
    );
  }
  if (header.get('ei_class') !== ELFCLASS64 || header.get('ei_data') !== ELFDATA2LSB) {
    throw new KernelImageError('KERNEL_NOT_64_BIT', `kernel ${name} is a 32-bit ELF file; an x86-64 kernel is needed`);
  }

  const tableStart = header.get('e_phoff');
  const count = header.get('e_phnum');
  if (count > 0 && header.get('e_phentsize') !== programHeaderBytes) {
    throw layoutError(
      name,
      `its program headers have ${header.get('e_phentsize')} bytes instead of ${programHeaderBytes}`,
    );
  }
  if (tableStart + count * programHeaderBytes > head.length) throw outsideFile(name, 'table of program headers');

  const segments: Segment[] = [];
  const notes: { offset: number; sizeBytes: number; alignment: number }[] = [];
  for (let index = 0; index < count; index++) {
    const program = fieldsOf(programHeaderLayout, head.subarray(tableStart + index * programHeaderBytes));
    const type = program.get('p_type');
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    const segment = {
      offset: program.get('p_offset'),
      address: gpa(program.get('p_paddr')),
      fileBytes: program.get('p_filesz'),
      memoryBytes: program.get('p_memsz'),
    };
    if (segment.offset + segment.fileBytes > fileBytes) throw outsideFile(name, `segment ${index}`);
    if (type === PT_NOTE) {
      notes.push({
        offset: segment.offset,
        sizeBytes: segment.fileBytes,
        alignment: program.get('p_align') === 8 ? 8 : 4,
      });
    } else if (segment.memoryBytes > 0) {
      if (segment.fileBytes > segment.memoryBytes) {
        throw layoutError(name, `segment ${index} is longer in the file than in memory`);
      }
      segments.push(segment);
    }
  }

  segments.sort((a, b) => a.offset - b.offset);
  const [first, ...rest] = segments;
  if (first === undefined) throw layoutError(name, 'it has nothing to load (no PT_LOAD segment)');
  const byAddress = [...segments].sort((a, b) => a.address - b.address);
  let end: number = highMemoryStart;
  for (const { address, memoryBytes } of byAddress) {
    if (address < end) {
      throw layoutError(
        name,
        address < highMemoryStart
          ? `it has a segment at 0x${address.toString(16)}, below 1 MiB, where the boot structures are`
          : `two of its segments share the address 0x${address.toString(16)}`,
      );
    }
    end = address + memoryBytes;
  }

  const sections = header.get('e_shoff') + header.get('e_shnum') * header.get('e_shentsize');
  return {
    name,
    entry: gpa(header.get('e_entry')),
    segments: [first, ...rest],
    notes,
    start: gpa(byAddress[0]?.address ?? 0),
    end: gpa(end),
    fileEnd: segments.reduce((last, { offset, fileBytes: bytes }) => Math.max(last, offset + bytes), sections),
  };
}

/** Refuses a kernel that is larger than the RAM below the 32-bit hole, or whose entry lies outside itself. */
export function checkElfFits(elf: Elf, entry: Gpa, memory: GuestMemory): void {
  if (elf.end > memory.lowEnd) throw tooLarge(elf.name, elf.end, memory);
  if (!elf.segments.some(({ address, memoryBytes }) => entry >= address && entry < address + memoryBytes)) {
    throw layoutError(elf.name, `its entry point 0x${entry.toString(16)} lies outside its segments`);
  }
}

/** Copies the segments from the whole file to where they belong. */
export function copySegments(memory: GuestMemory, elf: Elf, file: Uint8Array): void {
  for (const { offset, address, fileBytes, memoryBytes } of elf.segments) {
    memory.write(address, file.subarray(offset, offset + fileBytes));
    zeroRange(memory, address + fileBytes, address + memoryBytes);
  }
}

/** True if {@link settleSegments} can do this file: its segments have the same order in the file and in memory. */
export function canSettle({ segments }: Elf): boolean {
  return segments.every((segment, index) => {
    const before = segments[index - 1];
    return (
      before === undefined || (segment.address > before.address && segment.offset >= before.offset + before.fileBytes)
    );
  });
}

/**
 * Moves the segments of a file that lies in guest memory at `base` to where they belong, and zeroes the rest of it.
 *
 *     file at base   | headers | text      | gap | data | init        | relocations |
 *     memory                   | text      | data | init        | bss |
 *
 * Both rows have the same order and nothing overlaps within a row. So a segment that moves down only ever runs into
 * others that move down and lie before it, and those that move up only into those behind it: two passes suffice.
 */
export function settleSegments(memory: GuestMemory, elf: Elf, base: Gpa, fileBytes: number): void {
  const move = ({ offset, address, fileBytes: length }: Segment): void => {
    memory.move(address, gpa(base + offset), length);
  };
  const descending = [...elf.segments].reverse();
  for (const segment of elf.segments) if (segment.address < base + segment.offset) move(segment);
  for (const segment of descending) if (segment.address > base + segment.offset) move(segment);

  let position = Math.min(base, elf.start);
  for (const { address, fileBytes: length } of elf.segments) {
    zeroRange(memory, position, address);
    position = address + length;
  }
  zeroRange(memory, position, Math.max(base + fileBytes, elf.end));
}

function zeroRange(memory: GuestMemory, from: number, to: number): void {
  if (to > from) memory.zero(gpa(from), to - from);
}

/** Name and type of the note that holds a PVH kernel's entry (Xen public/elfnote.h). */
const xenNoteName = 'Xen\0';
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** The 32-bit entry of a PVH kernel, from its ELF note. */
export function pvhEntry(elf: Elf, file: Uint8Array): Gpa | undefined {
  for (const { offset, sizeBytes, alignment } of elf.notes) {
    const notes = file.subarray(offset, offset + sizeBytes);
    const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
    const padded = (length: number): number => Math.ceil(length / alignment) * alignment;
    for (let position = 0; position + 12 <= notes.length; ) {
      const nameBytes = view.getUint32(position, true);
      const descriptorBytes = view.getUint32(position + 4, true);
      const type = view.getUint32(position + 8, true);
      const descriptor = position + padded(12 + nameBytes);
      const next = descriptor + padded(descriptorBytes);
      const name = new TextDecoder('latin1').decode(
        notes.subarray(position + 12, position + 12 + Math.min(nameBytes, 8)),
      );
      // Four bytes by the ABI; kernels from 5.x on store eight, the upper half zero.
      const whole = descriptorBytes >= 4 && descriptor + 4 <= notes.length;
      if (name === xenNoteName && type === XEN_ELFNOTE_PHYS32_ENTRY && whole)
        return gpa(view.getUint32(descriptor, true));
      position = next;
    }
  }
  return undefined;
}

function outsideFile(name: string, what: string): KernelImageError {
  return new KernelImageError(
    'KERNEL_TRUNCATED',
    `kernel ${name} is truncated: its ${what} lies beyond the end of the file; copy the file again`,
  );
}

function layoutError(name: string, problem: string): KernelImageError {
  return new KernelImageError('KERNEL_LAYOUT', `kernel ${name} cannot be loaded: ${problem}`);
}

/** Largest part of an ELF file that {@link parseElf} has to see: headers at its start. */
export const elfHeadBytes = 4 * KiB;
