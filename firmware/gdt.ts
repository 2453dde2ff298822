import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { gdtAddress } from '../src/memory/layout.ts';

/** One segment register as KVM holds it: struct kvm_segment, by its own names. */
export interface Segment {
  readonly base: number;
  /** Last byte, in bytes: unlike in a descriptor, already scaled by `g`. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** A descriptor table register: struct kvm_dtable. */
export interface DescriptorTable {
  readonly base: number;
  readonly limit: number;
}

/** Segment types (Intel SDM volume 3, 3.4.5.1 and 3.5): execute/read, read/write, busy TSS; all accessed. */
const typeCode = 11;
const typeData = 3;
const typeBusyTss = 11;

const flat = { base: 0, limit: 0xffff_ffff, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0 };

/** __BOOT_CS and __BOOT_DS of the 64-bit boot protocol are 0x10 and 0x18; the TSS follows. */
const selectors = { code: 0x10, data: 0x18, tss: 0x20 };

export const code64: Segment = { ...flat, selector: selectors.code, type: typeCode, db: 0, l: 1 };
export const code32: Segment = { ...flat, selector: selectors.code, type: typeCode, db: 1, l: 0 };
export const data: Segment = { ...flat, selector: selectors.data, type: typeData, db: 1, l: 0 };
/** Never used, but processors refuse to run without a task register. */
export const tss: Segment = {
  ...flat,
  selector: selectors.tss,
  type: typeBusyTss,
  limit: 0x67,
  s: 0,
  g: 0,
  db: 0,
  l: 0,
};

/** The descriptor that would load `segment` (Intel SDM volume 3, figure 3-8). */
export function descriptorOf(segment: Segment): bigint {
  const { base, type, s, dpl, present, avl, l, db, g } = segment;
  const limit = g === 1 ? Math.floor(segment.limit / 4096) : segment.limit;
  const low = ((base & 0xffff) << 16) | (limit & 0xffff);
  const access = type | (s << 4) | (dpl << 5) | (present << 7);
  const flags = avl | (l << 1) | (db << 2) | (g << 3);
  const high = (base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (access << 8) | ((base >>> 16) & 0xff);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** Writes the table that holds `code`, {@link data} and {@link tss} under their selectors. */
export function writeGdt(memory: GuestMemory, code: Segment): void {
  const descriptors = [0n, 0n, descriptorOf(code), descriptorOf(data), descriptorOf(tss)];
  const bytes = new Uint8Array(descriptors.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [index, descriptor] of descriptors.entries()) view.setBigUint64(index * 8, descriptor, true);
  memory.write(gdtAddress, bytes);
}

/** GDTR for the table of {@link writeGdt}. */
export const gdt: DescriptorTable = { base: gdtAddress, limit: 5 * 8 - 1 };
/** No interrupt table: the kernel enters with interrupts off, and a fault before it has its own is fatal anyway. */
export const idt: DescriptorTable = { base: 0, limit: 0 };
