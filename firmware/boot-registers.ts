import { bootStackAddress, pageTableAddress } from '../src/memory/layout.ts';
import { code32, code64, type DescriptorTable, data, gdt, idt, type Segment, tss } from './gdt.ts';
import type { BootEntry } from './load-kernel.ts';

/** What the first vCPU starts with, by the names of struct kvm_regs and kvm_sregs. What is not named is 0. */
export interface BootRegisters {
  readonly rip: number;
  readonly rsp: number;
  readonly rsi: number;
  readonly rbx: number;
  readonly rflags: number;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly cs: Segment;
  readonly ds: Segment;
  readonly es: Segment;
  readonly fs: Segment;
  readonly gs: Segment;
  readonly ss: Segment;
  readonly tr: Segment;
  readonly gdt: DescriptorTable;
  readonly idt: DescriptorTable;
}

/** CR0: protection on; ET reads as one on every processor that has long mode; paging on. */
const CR0_PE = 0x1;
const CR0_ET = 0x10;
const CR0_PG = 0x8000_0000;
const CR4_PAE = 0x20;
/** EFER: long mode enabled and active. */
const EFER_LME = 0x100;
const EFER_LMA = 0x400;
/** RFLAGS bit 1 is always set. */
const rflags = 0x2;

const segments = { ds: data, es: data, fs: data, gs: data, ss: data, tr: tss, gdt, idt };

/**
 * The registers each protocol asks for: long mode with an identity map and RSI at the zero page (Linux 64-bit
 * boot protocol), or flat 32-bit mode without paging and EBX at hvm_start_info (Xen PVH ABI).
 */
export function bootRegisters(entry: BootEntry): BootRegisters {
  switch (entry.protocol) {
    case 'linux64':
      return {
        rip: entry.entry,
        rsp: bootStackAddress,
        rsi: entry.zeroPage,
        rbx: 0,
        rflags,
        cr0: CR0_PE + CR0_ET + CR0_PG,
        cr3: pageTableAddress,
        cr4: CR4_PAE,
        efer: EFER_LME | EFER_LMA,
        cs: code64,
        ...segments,
      };
    case 'pvh':
      return {
        rip: entry.entry,
        rsp: bootStackAddress,
        rsi: 0,
        rbx: entry.startInfo,
        rflags,
        cr0: CR0_PE + CR0_ET,
        cr3: 0,
        cr4: 0,
        efer: 0,
        cs: code32,
        ...segments,
      };
  }
}
