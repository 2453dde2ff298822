import type { Gpa } from '../../src/memory/address.ts';
import { fieldsOf, type Layout } from '../fields.ts';
import type { Aml } from './aml.ts';

/** System description tables (ACPI 6.4 section 5.2), each as the bytes the guest finds; offsets in bytes. */

/** DESCRIPTION_HEADER (table 5.4). */
const headerLayout = {
  length: [4, 4],
  revision: [8, 1],
  checksum: [9, 1],
  oem_revision: [24, 4],
  creator_revision: [32, 4],
} as const;
export const headerBytes = 36;
const signatureOffset = 0;
const oemIdOffset = 10;
const oemTableIdOffset = 16;
const creatorIdOffset = 28;

const oemId = 'COLOVM';
const oemTableId = 'COLOVMM ';
const creatorId = 'COLO';

/** What makes all bytes of `table` sum to 0 modulo 256. */
export function checksumOf(table: Uint8Array): number {
  return -table.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function put(target: Uint8Array, offset: number, ascii: string): void {
  for (let index = 0; index < ascii.length; index++) target[offset + index] = ascii.charCodeAt(index);
}

function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const result = new Uint8Array(headerBytes + body.length);
  result.set(body, headerBytes);
  put(result, signatureOffset, signature);
  put(result, oemIdOffset, oemId);
  put(result, oemTableIdOffset, oemTableId);
  put(result, creatorIdOffset, creatorId);
  const header = fieldsOf(headerLayout, result);
  header.set('length', result.length);
  header.set('revision', revision);
  header.set('oem_revision', 1);
  header.set('creator_revision', 1);
  header.set('checksum', checksumOf(result));
  return result;
}

/** RSDP, revision 2 (5.2.5.3): the root. Without an RSDT: only the XSDT's 64-bit pointers. */
export function rsdp(xsdt: Gpa): Uint8Array {
  const layout = { checksum: [8, 1], revision: [15, 1], length: [20, 4], xsdt: [24, 8], extended: [32, 1] } as const;
  const result = new Uint8Array(36);
  put(result, 0, 'RSD PTR ');
  put(result, 9, oemId);
  const fields = fieldsOf(layout, result);
  fields.set('revision', 2);
  fields.set('length', result.length);
  fields.set('xsdt', xsdt);
  fields.set('checksum', checksumOf(result.subarray(0, 20)));
  fields.set('extended', checksumOf(result));
  return result;
}

/** XSDT (5.2.8): where the other tables are. */
export function xsdt(tables: readonly Gpa[]): Uint8Array {
  const body = new BigUint64Array(tables.map((address) => BigInt(address)));
  return table('XSDT', 1, new Uint8Array(body.buffer));
}

/** Boot architecture flags, IAPC_BOOT_ARCH (5.2.9.3). */
const HAS_8042 = 1 << 1;
const NO_VGA = 1 << 2;
const NO_MSI = 1 << 3;
const NO_ASPM = 1 << 4;
const NO_CMOS_RTC = 1 << 5;

/** Fixed feature flags (table 5.10). */
const WBINVD = 1 << 0;
const NO_POWER_BUTTON = 1 << 4;
const NO_SLEEP_BUTTON = 1 << 5;
const RESET_REG_SUP = 1 << 10;
const HW_REDUCED_ACPI = 1 << 20;

/** FADT fields that are not zero; x_dsdt is the offset in the whole table, as the specification has it. */
const fadtLayout = {
  iapc_boot_arch: [109, 2],
  flags: [112, 4],
  reset_value: [128, 1],
  minor_version: [131, 1],
  x_dsdt: [140, 8],
} as const satisfies Layout;
const fadtBytes = 276;
const resetRegister = 116;
const sleepControlRegister = 244;
const sleepStatusRegister = 256;
const hypervisorVendorId = 268;

/** Written to the power port: reset the machine. */
export const resetValue = 1;
/** SLP_TYP of the soft-off state, in \_S5 and in the sleep control register. */
export const softOffSleepType = 5;

/** Generic Address Structure (5.2.3.2) of a one-byte I/O port. */
function putPort(target: Uint8Array, offset: number, port: number): void {
  const layout = { space: [0, 1], width: [1, 1], access: [3, 1], address: [4, 8] } as const;
  const fields = fieldsOf(layout, target.subarray(offset));
  fields.set('space', 1);
  fields.set('width', 8);
  fields.set('access', 1);
  fields.set('address', port);
}

export interface FadtOptions {
  readonly dsdt: Gpa;
  /** One-byte port that is sleep control, sleep status and reset register at once. */
  readonly powerPort: number;
  readonly i8042: boolean;
  readonly rtc: boolean;
}

/**
 * FADT, ACPI 6.5, hardware-reduced (5.2.9): no PM timer, no SCI, no fixed events, so nothing for the guest to
 * look for. What a PC would have and this machine has not is said in the boot flags, or the guest waits for it.
 */
export function fadt({ dsdt, powerPort, i8042, rtc }: FadtOptions): Uint8Array {
  const whole = new Uint8Array(fadtBytes);
  const fields = fieldsOf(fadtLayout, whole);
  fields.set('iapc_boot_arch', NO_VGA | NO_MSI | NO_ASPM | (i8042 ? HAS_8042 : 0) | (rtc ? 0 : NO_CMOS_RTC));
  fields.set('flags', WBINVD | NO_POWER_BUTTON | NO_SLEEP_BUTTON | RESET_REG_SUP | HW_REDUCED_ACPI);
  fields.set('reset_value', resetValue);
  fields.set('minor_version', 5);
  fields.set('x_dsdt', dsdt);
  for (const offset of [resetRegister, sleepControlRegister, sleepStatusRegister]) putPort(whole, offset, powerPort);
  put(whole, hypervisorVendorId, 'COLOVMM');
  return table('FACP', 6, whole.subarray(headerBytes));
}

export interface MadtOptions {
  readonly cpus: number;
  readonly localApic: Gpa;
  readonly ioApic: Gpa;
}

/** Interrupt controller structures of the MADT (5.2.12). */
const LOCAL_APIC = 0;
const IO_APIC = 1;
const PROCESSOR_ENABLED = 1;
/** APIC ids up to here fit a local APIC entry; 255 addresses all. */
const largestLocalApicId = 254;

/** MADT: one I/O APIC whose pin n is GSI n, and a local APIC per vCPU, APIC id = vCPU number. No 8259. */
export function madt({ cpus, localApic, ioApic }: MadtOptions): Uint8Array {
  if (cpus - 1 > largestLocalApicId)
    throw new RangeError(`${cpus} vCPUs are more than the MADT has local APIC ids for`);
  const ioApicBytes = 12;
  const localApicBytes = 8;
  const body = new Uint8Array(8 + ioApicBytes + cpus * localApicBytes);
  const view = new DataView(body.buffer);
  view.setUint32(0, localApic, true);
  view.setUint8(8, IO_APIC);
  view.setUint8(9, ioApicBytes);
  view.setUint32(12, ioApic, true);
  for (let cpu = 0; cpu < cpus; cpu++) {
    const offset = 8 + ioApicBytes + cpu * localApicBytes;
    view.setUint8(offset, LOCAL_APIC);
    view.setUint8(offset + 1, localApicBytes);
    view.setUint8(offset + 2, cpu);
    view.setUint8(offset + 3, cpu);
    view.setUint32(offset + 4, PROCESSOR_ENABLED, true);
  }
  return table('APIC', 5, body);
}

/** DSDT (5.2.11.1) of 64-bit integers. */
export function dsdt(content: Aml): Uint8Array {
  return table('DSDT', 2, content);
}
